package mtasts

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestReported: what reports say about a policy, and about one that can't be had.
func TestReported(t *testing.T) {
	require := func(t *testing.T, w *world) string {
		t.Helper()
		r, err := w.Require(t.Context(), target("example.com", "mx.example.com"))
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if r.Found != nil {
			got = fmt.Sprintf("%s %q %s %q", r.Found.Type, r.Found.Lines, r.Found.Domain, r.Found.Hosts)
		}
		if r.Trouble != nil {
			got += " " + mx.TLSFailureOf(r.Trouble).Type
		}
		return got
	}
	const found = `sts ["version: STSv1" "mode: enforce" "mx: mx.example.com" "mx: *.example.net" "max_age: 604800"]  ["mx.example.com" "*.example.net"]`
	inBubble(t, func(t *testing.T, w *world) {
		if got := require(t, w); got != found {
			t.Errorf("got %s, want %s", got, found)
		}
		w.answer(404, "text/plain", "")
		time.Sleep(30 * time.Hour) // it can't be renewed
		if got, want := require(t, w), found+" sts-policy-fetch-error"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	for body, want := range map[string]string{
		strings.Replace(enforce, "enforce", "testing", 1): strings.Replace(found, "enforce", "testing", 1),
		strings.Replace(enforce, "enforce", "none", 1):    "none",
		"x": "none sts-policy-invalid",
		"":  "none sts-policy-invalid",
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.answer(200, "text/plain", body)
			if got := require(t, w); got != want {
				t.Errorf("%s: got %s, want %s", body, got, want)
			}
		})
	}
	// The DNS fails: that is told about a domain with a policy alone.
	for _, kept := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			want := "none"
			if kept {
				require(t, w)
				time.Sleep(time.Hour)
				want = found + " sts-policy-fetch-error"
			}
			w.inet.FailDNS("_mta-sts.example.com", smtptest.ServFail)
			if got := require(t, w); got != want {
				t.Errorf("without DNS: got %s, want %s", got, want)
			}
			w.inet.FailDNS("_mta-sts.example.com", smtptest.NoFault)
			w.inet.TXT("_mta-sts.example.com", "v=STSv1; id=2")
			w.answer(404, "text/plain", "")
			time.Sleep(time.Hour)
			want = strings.TrimSuffix(want, " sts-policy-fetch-error") + " sts-policy-fetch-error"
			if got := require(t, w); got != want {
				t.Errorf("with DNS again, and no policy: got %s, want %s", got, want)
			}
		})
	}
	inBubble(t, func(t *testing.T, w *world) {
		w.inet.TXT("_mta-sts.example.com")
		if got := require(t, w); got != "none" {
			t.Errorf("without a record: got %s", got)
		}
	})
}
