-- A database whose dump is about 1 GB for a :scale of 1, a quarter each of text, JSON, numbers and random bytes.
SET client_min_messages = warning;
SELECT setseed(0.5);
CREATE TABLE words (id serial PRIMARY KEY, word text NOT NULL);
-- roughly in the order of how often people write them
INSERT INTO words (word) SELECT regexp_split_to_table('the of and to in a is that for it as was with be by on not he
 his but at are this have from or had an they which one you were all her she there would their we him been has when who
 will no more if out so up said what its about than into them can only other time new some could these two may first then
 do any like my now over such our man me even most made after also did many off before must well back through years much
 where your way down should because long each just state those people too mister how little good world make very year
 still see own work men day get here old between both life being under three never know same last another while us might
 great go come since against right came take used himself few house use place during high without again home around small
 however found part thought went say general once upon school every does got united left number course war until always
 away something fact water though less public put think almost hand enough far took head yet government system better set
 told nothing night end why called find going look asked later knew point next program city business give group toward
 young days let room within children side social given order national possible rather second face per among form often
 things early white case large big need four along become important god present almost development customer delivery
 invoice payment warehouse database backup recovery storage product quality review excellent broken arrived colour size
 received returned shipping package address telephone request answer support manager account password shipment refund
 discount promotion catalogue material cotton leather wooden metal plastic kitchen garden bathroom furniture electronics
 battery charger cable monitor keyboard computer printer speaker headphones camera bicycle helmet jacket trousers shoes',
 '\s+');


-- phrases of 8 words, common words drawn more often, as in real text
CREATE TABLE phrases AS
SELECT n AS id, string_agg(w.word, ' ') AS phrase
FROM (SELECT n, 1 + floor(power(random(), 2.5) * (SELECT count(*) FROM words))::integer AS drawn
      FROM generate_series(0, 19999) AS n, generate_series(1, 8)) AS draws
JOIN words w ON w.id = drawn GROUP BY n;
ANALYZE phrases;

CREATE TABLE articles AS
SELECT n AS id, concat_ws(' ', a.phrase, b.phrase, c.phrase, d.phrase, e.phrase) AS body,
       timestamptz '2024-01-01 00:00+00' + n * interval '13 seconds' AS written
FROM generate_series(1, (1000000 * :scale)::integer) AS n
JOIN phrases a ON a.id = (n * 7919::bigint) % 19000
JOIN phrases b ON b.id = (n * 104729::bigint) % 19001
JOIN phrases c ON c.id = (n * 1299709::bigint) % 19003
JOIN phrases d ON d.id = (n * 15485863::bigint) % 19007
LEFT JOIN phrases e ON n % 2 = 0 AND e.id = (n * 32452843::bigint) % 19009;

CREATE TABLE events AS
SELECT n AS id, jsonb_build_object(
    'user', (n * 7919::bigint) % 100000, 'action', (ARRAY['view', 'click', 'buy', 'leave'])[1 + n % 4],
    'path', '/shop/' || n % 997 || '/' || (n * 31::bigint) % 4999, 'ms', (random() * 1000)::integer,
    'session', md5((n / 20)::text), 'flags', jsonb_build_array(n % 2 = 0, n % 3 = 0, null)) AS payload
FROM generate_series(1, (1500000 * :scale)::integer) AS n;

CREATE TABLE measurements AS
SELECT n AS id, (n * 7919::bigint) % 5000 AS sensor, random() AS value, (random() * 1000000)::integer AS counter,
       round((random() * 10000)::numeric, 2) AS price, date '2024-01-01' + n % 700 AS day
FROM generate_series(1, (4000000 * :scale)::integer) AS n;

CREATE TABLE blobs AS
SELECT n AS id, sha512(n::text::bytea) || sha512((n || 'a')::bytea) || sha512((n || 'b')::bytea) || sha512((n || 'c')::bytea)
    || sha512((n || 'd')::bytea) || sha512((n || 'e')::bytea) || sha512((n || 'f')::bytea) || sha512((n || 'g')::bytea) AS data
FROM generate_series(1, (240000 * :scale)::integer) AS n;
ALTER TABLE articles ADD PRIMARY KEY (id);
