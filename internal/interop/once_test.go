package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

const (
	onceDir   = "POSTRIDER_ONCE_DIR" // has the spool of TestOnce
	onceSends = 1000
)

// TestOnce has a thousand concurrent Sends of one key, in one process after another. Each is killed at a random moment,
// but for the last. All that returned have the same ID, and one message is there.
func TestOnce(t *testing.T) {
	dir := t.TempDir()
	kills, returned := 0, 0
	ids := map[string]int{}
	for round := 0; ; round++ {
		child := exec.Command(os.Args[0]) // TestMain calls onceProcess
		child.Env = append(os.Environ(), onceDir+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n, most := 0, rand.IntN(onceSends/2); lines.Scan(); n++ {
			if id, ok := strings.CutPrefix(lines.Text(), "id "); ok {
				ids[id]++
				returned++
			}
			switch {
			case round >= 20:
			case n == 0 && round%2 == 0: // all are about to be sent
				time.Sleep(rand.N(5 * time.Millisecond))
				child.Process.Kill()
			case n == most && round%2 == 1: // so many have returned
				child.Process.Kill()
			}
		}
		if child.Wait() == nil {
			break
		}
		if kills++; round > 20 {
			t.Fatal("the last process has failed")
		}
	}
	if len(ids) != 1 || returned < onceSends {
		t.Errorf("got the IDs %v, want one for at least %d Sends", ids, onceSends)
	}
	q, err := spool.Open(filepath.Join(dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var found []string
	for task, err := range q.List(t.Context(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, string(task.ID))
	}
	if len(found) != 1 || ids[found[0]] == 0 {
		t.Errorf("got the messages %v, want the one of %v", found, ids)
	}
	t.Logf("%d kills, %d Sends returned the ID %v", kills, returned, found)
}

// onceProcess is a process of TestOnce. It writes a line when it begins to send, and a line for each Send.
func onceProcess(dir string) error {
	q, err := spool.Open(filepath.Join(dir, "spool"))
	if err != nil {
		return err
	}
	relay := &postrider.Relay{Hostname: "relay.test", Queue: q}
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range onceSends {
		wg.Go(func() {
			ctx := context.Background()
			body := fmt.Sprintf("Date: %v\nSubject: Order 17\n\nThis is try %d.\n", time.Now().Format(time.RFC1123Z), i)
			m, err := relay.Prepare(ctx, smtp.NewEnvelope("shop@source.test", "ann@next.test"), strings.NewReader(body))
			m.Key = "order-17"
			<-start
			var id queue.ID
			if err == nil {
				id, err = relay.Enqueue(ctx, m)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			fmt.Println("id", id)
		})
	}
	fmt.Println("begins")
	close(start)
	wg.Wait()
	return errors.Join(append(errs, q.Close())...)
}
