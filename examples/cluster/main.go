// Cluster is several mail relays with one queue in PostgreSQL: each is a process, as it would be on a machine of its
// own. With examples/inbox as the host that takes all mail:
//
//	createdb -h localhost mail
//	go run ./examples/inbox
//	cd examples/cluster && go run . -dsn postgres://localhost/mail -smarthost 127.0.0.1:2526 -listen 127.0.0.1:3525
//
// The database must be there, and the address must have a user if it isn't you: postgres://user@localhost/mail. If the
// server asks for a password, put it into the file ~/.pgpass, or into PGPASSWORD: others can see the arguments of a
// process. The relays make their tables when they start.
//
// The relays listen on 127.0.0.1:3525, 3526 and 3527. Kill one with kill -9: the others deliver what it accepted, about
// 25 seconds later.
//
// The flags of examples/relay apply, except for -spool:
//
//	cd examples/cluster && go run . -help
//
// On several machines, run it on each with -relays 1 and the same -dsn. All relays together keep the limits of a site.
// All other limits and files are those of one relay. So a client that -greylist defers is deferred by each relay that
// it tries, and each relay sends its own reports for -tls-report. The page of -http shows the mail of all relays. A
// hold there applies to all relays, a suspension to the relay of the page.
//
// This file opens the queue, and spawn.go starts the relays. The rest is in examples/internal/relayd: its relay.go
// makes the Relay of each, field by field, and runs it.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/postrider/postrider/examples/internal/relayd"
	"github.com/postrider/postrider/queue/pgqueue"
)

// flags are the settings of this program.
type flags struct {
	*relayd.Flags
	dsn, schema, state string
	relays, conns      int
	list               bool
}

func parseFlags(args []string) (f *flags, err error) {
	f = &flags{}
	set := flag.NewFlagSet("cluster", flag.ContinueOnError)
	set.StringVar(&f.dsn, "dsn", "", "`address` of the database, such as postgres://user@host/name; others can\n"+
		"see it: put the password into the file ~/.pgpass, or into PGPASSWORD")
	set.StringVar(&f.schema, "schema", pgqueue.DefaultSchema, "`name` of the schema, which is made if it isn't there")
	set.IntVar(&f.relays, "relays", 3, "`number` of relays; the second one listens on the next port of each address,\n"+
		"or on the path with -2, and so on")
	set.IntVar(&f.conns, "connections", 16, "largest `number` of connections of each relay to the database")
	set.StringVar(&f.state, "state", "./cluster", "`path` that the files of a relay are named after; for the second\n"+
		"relay it is with -2, and so on")
	set.BoolVar(&f.list, "list", false, "print the queue, and end")
	if f.Flags, err = relayd.Parse(set, "state", args); err != nil {
		return nil, err
	}
	switch {
	case f.dsn == "":
		return nil, errors.New("-dsn is missing: give the address of the database")
	case f.state == "":
		return nil, errors.New("-state is empty: give a path, such as ./cluster")
	case f.relays < 1 || f.conns < 2:
		return nil, errors.New("-relays must be at least 1, and -connections at least 2")
	}
	return f, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		text := strings.TrimPrefix(err.Error(), "relay: ")
		fmt.Fprintln(os.Stderr, "cluster:", strings.ReplaceAll(text, "\n\t", " ")) // pgx has a line for each attempt
		os.Exit(1)
	}
}

// run runs the relays until ctx ends.
func run(ctx context.Context, args []string) error {
	f, err := parseFlags(args)
	if err != nil {
		return err
	}
	if err := f.Check(ctx); err != nil {
		return err
	}
	relays, err := f.split(args)
	if err != nil {
		return err
	}
	db, err := sql.Open("pgx", f.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(f.conns)
	db.SetMaxIdleConns(f.conns)
	options := &pgqueue.Options{Schema: f.schema, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if f.list {
		options.NoDelivery = true
		q, err := options.Open(ctx, db)
		if old, ok := errors.AsType[*pgqueue.VersionError](err); ok && old.Version < pgqueue.Version {
			return fmt.Errorf("the schema %s has no queue of this program: start a relay without -list first", f.schema)
		}
		if err != nil {
			return err
		}
		defer q.Close()
		return relayd.PrintQueue(ctx, q)
	}
	if err := pgqueue.Migrate(ctx, db, f.schema); err != nil {
		return err
	}
	if f.relays > 1 {
		db.Close() // each relay has its own
		return spawn(ctx, relays)
	}
	options.Logger = options.Logger.With("relay", f.Addresses()[0].Addr)
	q, err := options.Open(ctx, db)
	if err != nil {
		return err
	}
	defer q.Close()
	return f.Run(ctx, q, options.Logger)
}
