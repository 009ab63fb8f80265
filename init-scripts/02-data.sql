-- A few hundred thousand rows, the same at every load.
SET client_min_messages = warning;
SELECT setseed(0.42);

INSERT INTO shop.categories (parent_id, name)
SELECT CASE WHEN n > 10 THEN 1 + n % 10 END, 'Category ' || n FROM generate_series(1, 60) AS n;

INSERT INTO shop.customers (email, full_name, home, tags, profile, joined_at)
SELECT 'customer' || n || '@example.org',
       (ARRAY['Ada', 'Björn', 'Çelik', 'Дмитрий', '美咲', 'O''Neill'])[1 + n % 6] || ' ' || md5(n::text),
       ROW(n || ' Main Street', 'Town ' || n % 500, lpad((n % 99999)::text, 5, '0'), 'TH')::shop.address,
       CASE WHEN n % 7 = 0 THEN ARRAY['vip', 'tab' || chr(9) || 'inside', 'back\slash', '"quoted"'] ELSE '{}' END,
       jsonb_build_object('visits', n % 50, 'theme', CASE WHEN n % 2 = 0 THEN 'dark' END, 'text', E'line one\nline two'),
       timestamptz '2024-01-01 00:00+00' + n * interval '17 minutes'
FROM generate_series(1, 20000) AS n;

INSERT INTO shop.products (category_id, title, price, weight_kg, discount, thumbnail)
SELECT 1 + n % 60, 'Product ' || n || ' ' || md5((n * 7)::text), (n * 37 % 50000) / 100.0,
       CASE n % 9 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' ELSE n / 3.0 END,
       CASE WHEN n % 5 = 0 THEN shop.price_range(1, 1 + n % 10) END,
       CASE WHEN n % 10 = 0 THEN decode(md5(n::text) || repeat('00ff', n % 40), 'hex') END
FROM generate_series(1, 5000) AS n;

INSERT INTO shop.orders (customer_id, status, placed_at, note)
SELECT 1 + n % 20000,
       (enum_range(NULL::shop.order_status))[1 + n % 6],
       timestamptz '2024-01-01 00:00+00' + n * interval '9 minutes',
       CASE WHEN n % 11 = 0 THEN E'leave at the door\\N \\. ; -- not a comment' END
FROM generate_series(1, 120000) AS n;

INSERT INTO shop.order_lines (order_id, placed_at, line, product_id, quantity, unit_price)
SELECT o.id, o.placed_at, line, 1 + (o.id * 31 + line * 17) % 5000, 1 + (o.id + line) % 5, (o.id % 5000) / 100.0
FROM shop.orders o, generate_series(1, 2) AS line;

INSERT INTO audit.events (at, payload, source)
SELECT timestamptz '2025-01-01 00:00+00' + n * interval '1 minute', jsonb_build_object('login', n, 'agent', md5(n::text)),
       ('10.' || n % 256 || '.' || n / 256 % 256 || '.1')::inet
FROM generate_series(1, 60000) AS n;

INSERT INTO "Odd Names"."Ünï ""quoted"" 表"
VALUES (1, '', NULL, '🐘'), (2, E'\\.', E'\\N', E'tab\there'), (3, E'CR\rLF\r\n', '', chr(1));

CREATE MATERIALIZED VIEW shop.sales_by_month AS
    SELECT date_trunc('month', placed_at) AS month, count(DISTINCT order_id) AS orders, sum(quantity * unit_price) AS revenue
    FROM shop.order_lines GROUP BY 1;
CREATE UNIQUE INDEX sales_by_month_key ON shop.sales_by_month (month);

SELECT lo_from_bytea(0, decode(repeat(md5(n::text), 2000), 'hex')) FROM generate_series(1, 5) AS n;

ANALYZE;
