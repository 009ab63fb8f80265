-- A database with everything that is awkward to dump, to count, or to compare.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy ''s');
CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, mood mood DEFAULT 'ok', price money,
    at timestamptz DEFAULT '2026-03-29 01:30:00+01', data bytea, length int GENERATED ALWAYS AS (length(name)) STORED,
    f float8, gone int, span interval);
INSERT INTO customers (name, price, data, f, gone, span)
    SELECT 'n' || i, i::money, decode(md5(i::text), 'hex'), i / 3.0, i, i * interval '1 hour' FROM generate_series(1, 1000) i;
ALTER TABLE customers DROP COLUMN gone;
CREATE TABLE orders (id serial PRIMARY KEY, customer bigint REFERENCES customers, total numeric CHECK (total > 0));
INSERT INTO orders (customer, total) SELECT 1 + i % 1000, i FROM generate_series(1, 5000) i;
CREATE INDEX ON orders (customer) WHERE total > 10;
CREATE VIEW sums AS SELECT c.name, sum(o.total) FROM customers c JOIN orders o ON o.customer = c.id GROUP BY 1;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM orders;
-- a perfect imitation of rows, three times
CREATE FUNCTION imitation() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN
/* ;
COPY public.orders (id, customer, total) FROM stdin;
1	1	1
\.
*/ RETURN NEW; END $body$;
COMMENT ON FUNCTION imitation() IS 'it''s;
COPY public.orders (id, customer, total) FROM stdin;
2	2	2
\.
';
CREATE TABLE texts (t text);
INSERT INTO texts VALUES (E'\nCOPY public.orders (id, customer, total) FROM stdin;\n3\t3\t3\n\\.\n'), (E'\\.'), (''), (NULL);
CREATE TRIGGER watch BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION imitation();
ALTER TABLE orders DISABLE TRIGGER watch;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY large ON orders USING (total > 5);
CREATE FUNCTION atomic(x int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN x > 1 THEN 2 ELSE 3 END; SELECT 4; END;
-- loaded through the root, because an enum may hash to another partition elsewhere
CREATE TABLE parts (k mood, v int) PARTITION BY HASH (k);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parts SELECT (ARRAY['sad', 'ok', 'happy ''s'])[1 + i % 3]::mood, i FROM generate_series(1, 100) i;
CREATE TABLE years (y int, v int) PARTITION BY RANGE (y);
CREATE TABLE years_2025 PARTITION OF years FOR VALUES FROM (2025) TO (2026);
CREATE TABLE years_rest PARTITION OF years DEFAULT;
INSERT INTO years SELECT 2024 + i % 3, i FROM generate_series(1, 90) i;
-- the order of columns is another one after a restore
CREATE TABLE parent (a int, b int);
CREATE TABLE child (b int, a int, c int);
ALTER TABLE child INHERIT parent;
INSERT INTO child VALUES (1, 2, 3);
INSERT INTO parent VALUES (4, 5);
CREATE TABLE nothing ();
INSERT INTO nothing SELECT FROM generate_series(1, 7);
CREATE TABLE empty (a int);
CREATE UNLOGGED TABLE fleeting (a int);
INSERT INTO fleeting VALUES (1);
CREATE SCHEMA "select";
CREATE TABLE "select"."we""ird
name;" ("a b" int, "user" text, "x
y" int);
INSERT INTO "select"."we""ird
name;" VALUES (1, E'x\ty\nz\\', 2);
CREATE SEQUENCE "select"."S'q\ 1" START 5;
CREATE SEQUENCE used;
SELECT setval('used', 77, false);
CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean);
INSERT INTO schema_migrations VALUES (42, false);
CREATE TABLE "select".alembic_version (version_num text);
INSERT INTO "select".alembic_version VALUES ('4f2a');
SELECT lo_from_bytea(0, '\x414243'), lo_from_bytea(0, ''), lo_put(l, 700000, '\xff') FROM lo_create(0) AS l;
CREATE EXTENSION hstore;
