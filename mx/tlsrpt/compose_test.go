package tlsrpt

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestCompose: the mail and the JSON are golden, and the mail is read back.
func TestCompose(t *testing.T) {
	report := example()
	report.ID = "2016-04-01.5065427c@company-x.example"
	m := &Message{From: "tls-reports@Company-X.example", Domain: "company-y.example", Report: report}
	env, content, err := m.Compose(time.Date(2016, 4, 2, 1, 2, 3, 0, time.UTC), "a@company-y.example", "b@company-z.example")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%+v", *env); !strings.Contains(got, "From:tls-reports@Company-X.example") || env.Recipients[1].Notify != smtp.NotifyNever {
		t.Errorf("got envelope %s", got)
	}
	if !env.TLSOptional {
		t.Error("got an envelope that a policy holds up, want TLSOptional as in the header")
	}
	if _, err := smtp.Scan(content); err != nil {
		t.Error(err)
	}
	text, err := io.ReadAll(smtp.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\r\n") {
		if len(line) > 998 || len(line) > 78 && !strings.Contains(line, "!") {
			t.Errorf("got a line of %d octets: %s", len(line), line)
		}
	}
	// Other versions of Go may compress otherwise.
	body := regexp.MustCompile(`(?s)(\.json\.gz"\r\n\r\n).*?(--)`).ReplaceAll(text, []byte("$1(the report)\r\n$2"))
	golden(t, "mail.eml", body)
	var indented bytes.Buffer
	b, err := json.Marshal(report)
	if err == nil {
		err = json.Indent(&indented, b, "", "  ")
	}
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", append(indented.Bytes(), '\n'))

	got, err := ParseMail(bytes.NewReader(text))
	if err != nil || got.Domain != "company-y.example" || got.Submitter != "company-x.example" || !reflect.DeepEqual(got.Report, report) {
		t.Errorf("got %+v, %v, want %+v", got, err, report)
	}
	for _, to := range []string{"", "bob", "a@b\r\nRCPT"} {
		if _, _, err := m.Compose(time.Now(), to); err == nil {
			t.Errorf("got no error for %q", to)
		}
	}
	for _, m := range []Message{{From: m.From, Domain: m.Domain}, {From: m.From, Report: report}, {Domain: m.Domain, Report: report},
		{From: m.From, Domain: "a\r\nb", Report: report}, {From: m.From, Domain: m.Domain, Report: &Report{ID: "a\r\n b"}}} {
		if _, _, err := m.Compose(time.Now(), "a@example.net"); err == nil {
			t.Errorf("got no error for %+v", m)
		}
	}
}

func TestFilename(t *testing.T) {
	report := example()
	report.ID = "001@example.com"
	m := &Message{From: "a@mail.sndr.example.com", Domain: "example.net", Report: report}
	want := regexp.MustCompile(`^mail\.sndr\.example\.com!example\.net!1459468800!1459555199![0-9A-Za-z]+\.json\.gz$`) // RFC 8460 §5.1
	if got := m.Filename(); !want.MatchString(got) {
		t.Errorf("got %s, want %s", got, want)
	}
}
