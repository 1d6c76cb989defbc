// Relay is a mail relay: the program to copy from. It accepts mail, keeps it on disk, delivers it, retries for days,
// and returns to its sender what can't be delivered. Its flags:
//
//	go run ./examples/relay -help
//
// This file opens the queue. The rest is in examples/internal/relayd, since examples/cluster is the same with another
// queue. Its relay.go makes the Relay, field by field, and runs it. A program of yours can't import that package: copy
// its files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postrider/postrider/examples/internal/relayd"
	"github.com/postrider/postrider/queue/spool"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "relay:", strings.TrimPrefix(err.Error(), "relay: "))
		os.Exit(1)
	}
}

// run relays mail until ctx ends.
func run(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("relay", flag.ContinueOnError)
	dir := set.String("spool", "./spool", "keep the queue in this `directory`")
	list := set.Bool("list", false, "print the queue of a spool that isn't in use, and end")
	f, err := relayd.Parse(set, "spool", args)
	if err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("-spool is empty: give a directory, such as ./spool")
	}
	if *list { // Open would make the directory
		if _, err := os.Stat(*dir); err != nil {
			return fmt.Errorf("-spool: %w", err)
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	q, err := (&spool.Options{Logger: log}).Open(*dir)
	if err != nil {
		return err
	}
	defer q.Close()
	if *list {
		return relayd.PrintQueue(ctx, q)
	}
	return f.Run(ctx, q, log)
}
