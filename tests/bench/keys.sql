-- keys and indexes for what database.sql makes, as an application would have them
ALTER TABLE events ADD PRIMARY KEY (id);
ALTER TABLE measurements ADD PRIMARY KEY (id);
ALTER TABLE blobs ADD PRIMARY KEY (id);
CREATE TABLE sensors AS SELECT g AS id FROM generate_series(0, 4999) AS g;
ALTER TABLE sensors ADD PRIMARY KEY (id);
ALTER TABLE measurements ADD FOREIGN KEY (sensor) REFERENCES sensors (id);
CREATE INDEX measurements_sensor ON measurements (sensor, day);
CREATE INDEX events_user ON events (((payload ->> 'user')::integer));
CREATE INDEX articles_written ON articles (written);
