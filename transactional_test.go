package postrider

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestTransactional has a code to log in with that can't be delivered: it is tried often in its quarter of an hour,
// given up then, and its sender hears of that alone.
func TestTransactional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("next.test", "mx.next.test").Defer(time.Hour, smtp.NewReply(451, "4.3.0", "not now"))
		sender := inet.MX("source.test", "mx.source.test")
		r := newRelay(inet)
		tries := 0
		r.Events.Deferred = func(delivery.Event) { tries++ }
		inet.Go(r.Run)
		m, err := r.Prepare(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		m.MakeTransactional(15 * time.Minute)
		if _, err := r.Enqueue(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		report := sender.Wait(1)[0]
		synctest.Wait() // for the events
		if age := report.Time.Sub(begun); age < 15*time.Minute || age > 16*time.Minute || !strings.Contains(string(report.Data), "\r\nAction: failed\r\n") {
			t.Errorf("got after %v\n%s\nwant a failure after 15 minutes", age, report.Data)
		}
		if tries < 7 || tries > 10 {
			t.Errorf("got %d tries in vain, want eight or so", tries)
		}
	})
}
