-- Creates the database that a backup's manifest describes, without its content: encoding and locale, owner, comment,
-- connection limit, settings, settings of roles in it, privileges; not its tablespace, nor whether it is a template.
-- If the database exists already, all of that except encoding and locale is added to what it has. The roles must exist.
-- For PostgreSQL 15 and later.
--
--   psql -X -v ON_ERROR_STOP=1 -v manifest="$(cat NAME.json)" -d postgres -f recreate-database.sql
--
-- If the manifest has no properties, because they did not fit, use the facts file:
--
--   psql -X -v ON_ERROR_STOP=1 -d postgres -c '\set manifest `gunzip -c NAME.facts.json.gz`' -f recreate-database.sql

CREATE TEMPORARY TABLE wanted AS
SELECT m ->> 'database' AS name, coalesce(nullif(m -> 'properties', 'null'), m -> 'databases' -> 0 -> 'properties') AS p
FROM (SELECT :'manifest'::jsonb AS m) AS manifest;

SELECT format('CREATE DATABASE %I TEMPLATE template0 ENCODING %L LOCALE_PROVIDER %s LC_COLLATE %L LC_CTYPE %L',
              name, p ->> 'encoding', p ->> 'locale_provider', p ->> 'collate', p ->> 'ctype')
       || CASE p ->> 'locale_provider'
              WHEN 'icu' THEN format(' ICU_LOCALE %L', p ->> 'locale') || coalesce(format(' ICU_RULES %L', p ->> 'icu_rules'), '')
              WHEN 'builtin' THEN format(' BUILTIN_LOCALE %L', p ->> 'locale')
              ELSE '' END
FROM wanted WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec

SELECT format('ALTER DATABASE %I OWNER TO %I', name, p ->> 'owner'),
       format('ALTER DATABASE %I CONNECTION LIMIT %s', name, (p ->> 'connection_limit')::int),
       format('COMMENT ON DATABASE %I IS %L', name, p ->> 'comment')
FROM wanted \gexec

-- settings; the elements of a list are quoted one by one, as pg_dump does it
WITH setting AS (
    SELECT format('ALTER DATABASE %I', name) AS target, s AS text
    FROM wanted, jsonb_array_elements_text(p -> 'settings') AS s
    UNION ALL
    SELECT format('ALTER ROLE %I IN DATABASE %I', r.key, name), s
    FROM wanted, jsonb_each(p -> 'role_settings') AS r, jsonb_array_elements_text(r.value) AS s
), parts AS (
    SELECT target, split_part(text, '=', 1) AS variable, substr(text, strpos(text, '=') + 1) AS value FROM setting
)
SELECT format('%s SET %I TO %s', target, variable,
    CASE WHEN variable IN ('search_path', 'temp_tablespaces', 'local_preload_libraries', 'session_preload_libraries') THEN
        (SELECT string_agg(quote_literal(coalesce(replace(e[1], '""', '"'), e[2])), ', ' ORDER BY n)
         FROM regexp_matches(value, '"((?:[^"]|"")*)"|([^\s,"]+)', 'g') WITH ORDINALITY AS list(e, n))
    ELSE quote_literal(value) END)
FROM parts \gexec

-- privileges that are not the default ones, each by whoever gave it, and only after that one got it
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', name), format('REVOKE ALL ON DATABASE %I FROM %I', name, p ->> 'owner')
FROM wanted WHERE p -> 'privileges' <> 'null' \gexec

WITH RECURSIVE grants AS (
    SELECT name, p ->> 'owner' AS owner, g ->> 'grantor' AS grantor, g ->> 'grantee' AS grantee,
           g ->> 'privilege' AS privilege, (g ->> 'grantable')::boolean AS grantable
    FROM wanted, jsonb_array_elements(CASE WHEN p -> 'privileges' <> 'null' THEN p -> 'privileges' ELSE '[]' END) AS g
), givers (role, depth) AS (
    SELECT p ->> 'owner', 0 FROM wanted
    UNION
    SELECT grantee, depth + 1 FROM grants JOIN givers ON grantor = role WHERE grantable AND depth < 20 AND grantee <> owner
)
SELECT CASE WHEN grantor <> owner THEN format('SET SESSION AUTHORIZATION %I', grantor) END,
       format('GRANT %s ON DATABASE %I TO %s', privilege, name, coalesce(quote_ident(grantee), 'PUBLIC'))
           || CASE WHEN grantable THEN ' WITH GRANT OPTION' ELSE '' END,
       CASE WHEN grantor <> owner THEN 'RESET SESSION AUTHORIZATION' END
FROM grants ORDER BY (SELECT min(depth) FROM givers WHERE role = grantor) \gexec
