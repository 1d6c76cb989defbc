package pgqueue

import (
	"context"
	"database/sql"
	_ "embed" // of the schema
	"errors"
	"fmt"
	"strings"
	"time"
)

// Version is the version of the schema that this package needs.
const Version = 4

var (
	//go:embed schema/1.sql
	schema1 string
	//go:embed schema/2.sql
	schema2 string
	//go:embed schema/3.sql
	schema3 string
	//go:embed schema/4.sql
	schema4 string
)

// versions are the statements that make each version of the one before it.
var versions = []string{schema1, schema2, schema3, schema4}

// DefaultSchema is the name of the schema if none is given.
const DefaultSchema = "postrider"

// SQL returns the statements that make version to of the schema, from 1 to [Version], of the version before it; version
// 1 of an empty schema that exists. They are for a program's own tool for migrations: run those of one version in one
// transaction. An empty schema stands for [DefaultSchema].
func SQL(schema string, to int) (string, error) {
	if to < 1 || to > Version {
		return "", fmt.Errorf("pgqueue: the schema has no version %d, only 1 to %d", to, Version)
	}
	quoted, err := quote(schema)
	if err != nil {
		return "", err
	}
	return named(versions[to-1], quoted), nil
}

// Migrate makes the schema, or brings it to [Version], in one transaction. An empty schema stands for [DefaultSchema].
// Several processes may call it at the same time. The role needs CREATE on the database unless the schema exists.
//
// The error is a *[VersionError] if a newer program has made the schema.
func Migrate(ctx context.Context, db *sql.DB, schema string) error {
	quoted, err := quote(schema)
	if err != nil {
		return err
	}
	if err := migrate(ctx, db, quoted); err != nil {
		return fmt.Errorf("pgqueue: migrate: %w", err)
	}
	return nil
}

// migrateIdle is how long a migration that is cut off keeps the lock from the Queues that are open.
const migrateIdle = 10 * time.Second

func migrate(ctx context.Context, db *sql.DB, quoted string) error {
	if db == nil {
		return errNoDB
	}
	tx, err := beginTx(ctx, db, nil, migrateIdle)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, named(lockSQL, quoted)); err != nil {
		return err
	}
	if err := checkServer(ctx, tx); err != nil {
		return err
	}
	var there bool
	if err := tx.QueryRowContext(ctx, `SELECT to_regnamespace($1) IS NOT NULL`, quoted).Scan(&there); err != nil {
		return err
	}
	if !there { // IF NOT EXISTS would need CREATE on the database even if it exists
		if _, err := tx.ExecContext(ctx, named(`CREATE SCHEMA "postrider"`, quoted)); err != nil {
			return err
		}
	}
	version, _, err := readVersion(ctx, tx, quoted)
	if err != nil {
		return err
	}
	if version > Version {
		return &VersionError{version}
	}
	for ; version < Version; version++ {
		if _, err := tx.ExecContext(ctx, named(versions[version], quoted)); err != nil {
			return fmt.Errorf("to version %d: %w", version+1, err)
		}
	}
	return tx.Commit()
}

// VersionError is the error of a schema that this program can't use.
type VersionError struct {
	Version int // of the schema; 0: there is none
}

func (e *VersionError) Error() string {
	switch {
	case e.Version == 0:
		return "the schema has no tables of pgqueue, or there is no such schema: call Migrate"
	case e.Version < Version:
		return fmt.Sprintf("the schema has version %d, and this program needs version %d: call Migrate",
			e.Version, Version)
	}
	return fmt.Sprintf("the schema has version %d, and this program knows only versions 1 to %d: use the newer program",
		e.Version, Version)
}

// querier is what a *sql.DB, a *sql.Conn and a *sql.Tx have in common.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// checkServer returns an error if the server can't be used.
func checkServer(ctx context.Context, db querier) error {
	var version int
	var encoding string
	err := db.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int,
		current_setting('server_encoding')`).Scan(&version, &encoding)
	switch {
	case err != nil:
		return err
	case version < 130000:
		return fmt.Errorf("the server is PostgreSQL %d: version 13 or later is needed", version/10000)
	case encoding != "UTF8":
		return fmt.Errorf("the encoding of the database is %s: it must be UTF8", encoding)
	}
	return nil
}

// readVersion returns the version of the schema, 0 if it has no tables, and the seed of owners.
func readVersion(ctx context.Context, db querier, quoted string) (version int, seed []byte, err error) {
	var there bool
	err = db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, quoted+".version").Scan(&there)
	if err != nil || !there {
		return 0, nil, err
	}
	err = db.QueryRowContext(ctx, named(`SELECT version, seed FROM "postrider".version`, quoted)).Scan(&version, &seed)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, errors.New("the table version is empty: restore the schema from a backup")
	}
	return version, seed, err
}

// quote returns the name of a schema as an identifier.
func quote(schema string) (string, error) {
	if schema == "" {
		schema = DefaultSchema
	}
	// PostgreSQL truncates longer names, so that two could be one. Statements have the name in string literals, too.
	if len(schema) > 63 || strings.ContainsAny(schema, "\x00'\\") {
		return "", fmt.Errorf("pgqueue: the schema name %q is not valid: it must have at most 63 octets, "+
			"and no NUL, apostrophe or backslash", schema)
	}
	return `"` + strings.ReplaceAll(schema, `"`, `""`) + `"`, nil
}

// named puts the quoted name of the schema into a statement.
func named(statement, quoted string) string {
	return strings.ReplaceAll(statement, `"postrider"`, quoted)
}

// lockSQL serializes migrations, changes of the owners of lanes, and operations. The lock ends with the transaction.
const lockSQL = `SELECT pg_advisory_xact_lock(hashtextextended('pgqueue "postrider"', 0))`
