-- Version 2 of the schema: the records of Share. version is another one after each change.
CREATE TABLE "postrider".share (
	name    text   PRIMARY KEY,
	version bigint NOT NULL,
	data    bytea  NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE SEQUENCE "postrider".share_version;

-- share stores changes of records, if all of them are as they were read: was is the version then, NULL if there was no
-- record. It returns whether it did. keep is true for a record that was read and hasn't changed; without data, a record
-- is deleted. The lock is taken in a statement before, so that the others see what its last holder has committed.
CREATE FUNCTION "postrider".share(changes json) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended('pgqueue share "postrider"', 0));
	IF EXISTS (
		SELECT FROM json_to_recordset(changes) AS c(name text, was bigint)
		LEFT JOIN "postrider".share s ON s.name = c.name WHERE s.version IS DISTINCT FROM c.was
	) THEN
		RETURN false;
	END IF;
	DELETE FROM "postrider".share s USING json_to_recordset(changes) AS c(name text, keep boolean, data text)
	WHERE s.name = c.name AND NOT c.keep AND c.data IS NULL;
	INSERT INTO "postrider".share AS s (name, version, data)
	SELECT c.name, nextval('"postrider".share_version'), decode(c.data, 'base64')
	FROM json_to_recordset(changes) AS c(name text, keep boolean, data text) WHERE NOT c.keep AND c.data IS NOT NULL
	ON CONFLICT (name) DO UPDATE SET version = excluded.version, data = excluded.data;
	RETURN true;
END
$$;

UPDATE "postrider".version SET version = 2;
