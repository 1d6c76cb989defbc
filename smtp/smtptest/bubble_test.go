package smtptest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

func TestInBubble(t *testing.T) {
	if inBubble() {
		t.Error("outside: got true, want false")
	}
	synctest.Test(t, func(t *testing.T) {
		if !inBubble() {
			t.Error("inside: got false, want true")
		}
		time.Sleep(100 * 365 * 24 * time.Hour)
		if !inBubble() {
			t.Error("inside, in 2099: got false, want true")
		}
	})
}

// mistakes are tests that use a Network on the wrong side of a bubble.
var mistakes = []struct {
	name string
	test func(*testing.T)
	want error
}{
	{"host", func(t *testing.T) {
		n := NewNetwork(t)
		synctest.Test(t, func(t *testing.T) { n.MX("example.net", "mx.example.net") })
	}, errMadeOutside},
	{"go", func(t *testing.T) {
		n := NewNetwork(t)
		synctest.Test(t, func(t *testing.T) { n.Go(func(context.Context) error { return nil }) })
	}, errMadeOutside},
	{"certificate", func(t *testing.T) {
		n := NewNetwork(t)
		synctest.Test(t, func(t *testing.T) { n.Certificate("mx.example.net") })
	}, errMadeOutside},
	{"wait", func(t *testing.T) {
		h := NewNetwork(t).Host("mx.example.net")
		synctest.Test(t, func(t *testing.T) { h.WaitSessions(1) })
	}, errMadeOutside},
	{"dial", func(t *testing.T) {
		n := NewNetwork(t)
		n.Host("mx.example.net")
		synctest.Test(t, func(t *testing.T) { n.DialContext(t.Context(), "tcp", "mx.example.net:25") })
	}, errMadeOutside},
	{"look up", func(t *testing.T) {
		n := NewNetwork(t)
		synctest.Test(t, func(t *testing.T) { n.LookupMX(t.Context(), "example.net") })
	}, errMadeOutside},
	{"listen", func(t *testing.T) {
		n := NewNetwork(t)
		synctest.Test(t, func(t *testing.T) { n.Listen("mx1.test:25") })
	}, errMadeOutside},
	{"accept", func(t *testing.T) {
		outside(t, func(n *Network) func() {
			l, err := n.Listen("mx1.test:25")
			if err != nil {
				t.Error(err)
			}
			return func() { l.Accept(); l.Close() }
		})
	}, errUsedOutside},
	{"dial from outside", func(t *testing.T) {
		outside(t, func(n *Network) func() {
			h := n.Host("mx.example.net")
			return func() { h.DialContext(context.Background(), "tcp", "mx.example.net:25") }
		})
	}, errUsedOutside},
	{"heal and down from outside", func(t *testing.T) {
		outside(t, func(n *Network) func() {
			h := n.Host("mx.example.net")
			h.StallAt(smtp.StageMail)
			return func() { h.Heal(); h.Down() }
		})
	}, errUsedOutside},
	{"the outer test", func(t *testing.T) {
		synctest.Test(t, func(*testing.T) { NewNetwork(t) })
	}, errOuterTest},
	{"the outer benchmark", func(t *testing.T) { // a testing.TB without a Deadline method
		synctest.Test(t, func(*testing.T) { NewNetwork(struct{ testing.TB }{t}).Host("mx.example.net") })
	}, errOuterTest},
}

// outside calls the func that use returns in a goroutine outside the bubble, before the bubble ends.
func outside(t *testing.T, use func(*Network) func()) {
	do, done := make(chan func()), make(chan struct{})
	go func() {
		(<-do)()
		close(done)
	}()
	synctest.Test(t, func(t *testing.T) {
		do <- use(NewNetwork(t))
		<-done
	})
}

// TestMistake is one of the mistakes, in the process that TestMistakes starts.
func TestMistake(t *testing.T) {
	for _, m := range mistakes {
		if m.name == os.Getenv("SMTPTEST_MISTAKE") {
			m.test(t)
		}
	}
}

// TestMistakes: the test fails with the error, and the process doesn't end with a fatal error of the runtime. Each
// mistake has a process of its own, because it needs a real *testing.T that fails.
func TestMistakes(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			cmd := exec.Command(self, "-test.run=^TestMistake$", "-test.timeout=1m")
			cmd.Env = append(os.Environ(), "SMTPTEST_MISTAKE="+m.name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Error("the test didn't fail")
			}
			if want := ": smtptest: " + m.want.Error() + "\n"; strings.Count(string(out), want) != 1 {
				t.Errorf("want %q once in:\n%s", want, out)
			}
			if strings.Contains(string(out), "fatal error") || strings.Contains(string(out), "panic: ") {
				t.Errorf("the program crashed:\n%s", out)
			}
		})
	}
}
