package plans

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp/smtptest"
)

// TestNoticesWhileSuspended: mail that comes for a destination which is suspended has its delay notice in time, also after that
// of mail before it. Plan 321 found that it had none.
func TestNoticesWhileSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("next.test", "mx.next.test")
		sender := inet.MX("source.test", "mx.source.test")
		r := newRelay(inet)
		inet.Go(r.Run)
		r.Runner.Suspend(time.Now().Add(30*time.Hour), "next.test")
		const mails = 4
		for i := range mails {
			begin := time.Now()
			mustSend(t, r, "ann@source.test", "bob@next.test")
			time.Sleep(6 * time.Hour)
			reports := sender.Messages()
			if len(reports) != i+1 {
				t.Fatalf("mail %d: got %d reports, want %d", i, len(reports), i+1)
			}
			if !bytes.Contains(reports[i].Data, []byte("\r\nAction: delayed\r\n")) {
				t.Errorf("mail %d: got a report that isn't of a delay:\n%s", i, reports[i].Data)
			}
			// A blocked site is looked at every five minutes.
			if took, want := reports[i].Time.Sub(begin), defaultDelayNotice+5*time.Minute; took > want {
				t.Errorf("mail %d: got the notice after %v, want it within %v", i, took, want)
			}
		}
	})
}
