package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

const (
	killerDir   = "POSTRIDER_KILLER_DIR" // has the spool and the list of deliveries of TestKillerProcess
	killerTo    = "killer@dest13.test"
	killerCode  = 3 // the status of a process that the message has ended
	killerMails = 50
)

// TestKiller has one message among fifty that ends the process as soon as it is sent. The process is started again until
// it ends in peace: after three deaths only that message is left, quarantined, and all others are delivered.
func TestKiller(t *testing.T) {
	dir := t.TempDir()
	q, err := spool.Open(filepath.Join(dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	var killer queue.ID
	for i := range killerMails {
		to := fmt.Sprintf("to%d@dest%d.test", i, i%20)
		if i == killerMails/2 {
			to = killerTo
		}
		_, dest := smtp.SplitAddress(to)
		id, err := q.Enqueue(t.Context(), queue.Message{
			Envelope: smtp.NewEnvelope("from@example.test", to), Destinations: []string{dest}, Body: strings.NewReader("body\r\n"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if to == killerTo {
			killer = id
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}

	deaths := 0
	for {
		child := exec.Command(os.Args[0]) // TestMain calls killerProcess
		child.Env = append(os.Environ(), killerDir+"="+dir)
		out, err := child.CombinedOutput()
		if err == nil {
			if got := string(out); strings.Count(got, "msg=quarantined") != 1 || !strings.Contains(got, "id="+string(killer)) {
				t.Errorf("the last process logged\n%s\nwant that message %s is quarantined", got, killer)
			}
			break
		}
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != killerCode {
			t.Fatalf("start %d: %v\n%s", deaths+1, err, out)
		}
		if deaths++; deaths > 3 {
			t.Fatalf("the process has ended %d times, want 3", deaths)
		}
	}
	if deaths != 3 {
		t.Errorf("the process has ended %d times, want 3", deaths)
	}

	delivered, err := os.ReadFile(filepath.Join(dir, "delivered"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range killerMails {
		if to := fmt.Sprintf("to%d@dest%d.test\n", i, i%20); i != killerMails/2 && !bytes.Contains(delivered, []byte(to)) {
			t.Errorf("%q wasn't delivered", to)
		}
	}
	if q, err = spool.Open(filepath.Join(dir, "spool")); err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var left []queue.Task
	for task, err := range q.List(t.Context(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, task)
	}
	if len(left) != 1 || left[0].ID != killer || left[0].State != queue.Held || left[0].Deaths != 3 || left[0].Attempts != 3 {
		t.Errorf("got %+v left, want message %s alone, held, with 3 deaths and attempts", left, killer)
	}
}

// killerProcess is the process of TestKiller. It returns when all that is left is held.
func killerProcess(dir string) error {
	q, err := spool.Open(filepath.Join(dir, "spool"))
	if err != nil {
		return err
	}
	delivered, err := os.OpenFile(filepath.Join(dir, "delivered"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	runner := &delivery.Runner{Queue: q, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Sender: smtp.SenderFunc(
		func(ctx context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
			if env.Recipients[0].Address == killerTo {
				os.Exit(killerCode)
			}
			time.Sleep(5 * time.Millisecond) // as a host would take, so that some are under way at each death
			_, err := fmt.Fprintln(delivered, env.Recipients[0].Address)
			return nil, err
		})}
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	for {
		s, err := q.Stats(ctx)
		if err != nil || s.Tasks == s.Held {
			stop()
			return errors.Join(err, <-done, q.Close())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
