// Cluster is several mail relays with one queue in PostgreSQL: each is a process, as it would be on a machine of its
// own. With examples/inbox as the host that takes all mail:
//
//	go run ./examples/inbox
//	cd examples/cluster && go run . -dsn postgres://localhost/mail -smarthost 127.0.0.1:2526 -listen 127.0.0.1:3525
//
// The relays listen on 127.0.0.1:3525, 3526 and 3527. Kill one with kill -9: the others deliver what it accepted, 15
// seconds later.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/pgqueue"
)

// flags are the settings of this program.
type flags struct {
	hostname, listen, dsn, schema, smarthost string
	relays, conns, siteLimit                 int
}

func parseFlags(args []string) (*flags, error) {
	hostname, _ := os.Hostname()
	f := &flags{}
	set := flag.NewFlagSet("cluster", flag.ContinueOnError)
	set.StringVar(&f.hostname, "hostname", hostname, "this machine's `name` in the DNS")
	set.StringVar(&f.listen, "listen", "127.0.0.1:2525",
		"accept mail on this `address`; the second relay has the next port, and so on")
	set.StringVar(&f.dsn, "dsn", "", "`address` of the database, such as postgres://user@host/name")
	set.StringVar(&f.schema, "schema", pgqueue.DefaultSchema, "`name` of the schema, which is made if it isn't there")
	set.StringVar(&f.smarthost, "smarthost", "", "`host:port` for all mail; if empty, mail goes by the DNS")
	set.IntVar(&f.relays, "relays", 3, "`number` of relays")
	set.IntVar(&f.conns, "connections", 10, "largest `number` of connections of each relay to the database")
	set.IntVar(&f.siteLimit, "site-limit", 0, "largest `number` of messages at a time to the hosts of one site, "+
		"by all relays in sum; if 0, the default of the library")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case f.dsn == "":
		return nil, errors.New("-dsn is missing: give the address of the database")
	case f.siteLimit < 0:
		return nil, errors.New("-site-limit must be at least 1, or 0 for the default")
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
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// run runs the relays until ctx ends.
func run(ctx context.Context, args []string) error {
	f, err := parseFlags(args)
	if err != nil {
		return err
	}
	if f.relays > 1 {
		return f.spawn(ctx)
	}
	db, err := sql.Open("pgx", f.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(f.conns)
	db.SetMaxIdleConns(f.conns)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("relay", f.listen)
	if err := pgqueue.Migrate(ctx, db, f.schema); err != nil {
		return err
	}
	q, err := (&pgqueue.Options{Schema: f.schema, Logger: log}).Open(ctx, db)
	if err != nil {
		return err
	}
	defer q.Close()
	relay := &postrider.Relay{
		Hostname: f.hostname,
		Queue:    q,
		Allow:    postrider.AllowNetworks(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")),
		Logger:   log,
		Runner:   &delivery.Runner{Site: delivery.SiteLimits{Concurrency: f.siteLimit}},
	}
	if f.smarthost != "" {
		route, err := mx.ParseRoute(f.smarthost)
		if err != nil {
			return fmt.Errorf("-smarthost: %w", err)
		}
		relay.Routes = map[string]mx.Route{"*": route}
	}
	log.Info("listening")
	return relay.ListenAndServe(ctx, f.listen)
}

// inRelay is set in the environment of a process that is one relay.
const inRelay = "POSTRIDER_CLUSTER_RELAY"

// spawn starts a process for each relay, and waits for their ends.
func (f *flags) spawn(ctx context.Context) error {
	host, port, err := net.SplitHostPort(f.listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("-listen: the port is %q: with several relays, it must be a number", port)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range f.relays {
		cmd := exec.CommandContext(ctx, program, "-relays", "1", "-dsn", f.dsn, "-schema", f.schema,
			"-smarthost", f.smarthost, "-hostname", f.hostname, "-connections", strconv.Itoa(f.conns),
			"-site-limit", strconv.Itoa(f.siteLimit),
			"-listen", net.JoinHostPort(host, strconv.Itoa(first+i)))
		cmd.Env = append(os.Environ(), inRelay+"=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = time.Minute
		if err := cmd.Start(); err != nil {
			return err
		}
		fmt.Println("relay", first+i, "is process", cmd.Process.Pid)
		wg.Go(func() {
			if err := cmd.Wait(); err != nil && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "cluster: relay %d has ended: %v\n", first+i, err)
			}
		})
	}
	return nil
}
