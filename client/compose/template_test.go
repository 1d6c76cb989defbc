package compose

import (
	"context"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"iter"
	"net/mail"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	texttemplate "text/template"

	"github.com/postrider/postrider/smtp"
)

func newsletter() *Template {
	return &Template{
		Message: Message{
			From: mail.Address{Name: "News", Address: "news@example.com"}, ListID: "weekly.example.com", Unsubscribe: unsubscriber(),
			Inline: []File{{FS: fstest.MapFS{"logo.png": {Data: []byte("png")}}, Path: "logo.png"}},
		},
		Subject: texttemplate.Must(texttemplate.New("").Parse(`News for {{.Data}}`)),
		HTML: htmltemplate.Must(htmltemplate.New("").Parse(
			`<p>Hello {{.Data}} <img src="cid:logo.png"></p><p><a href="{{.Unsubscribe}}">unsubscribe {{.To.Address}}</a></p>`)),
	}
}

// people are so many recipients. live is how many were read and have no result yet, and most how many at a time.
func people(n int, live, most *atomic.Int64) iter.Seq[Recipient] {
	return func(yield func(Recipient) bool) {
		for i := range n {
			most.Store(max(most.Load(), live.Add(1)))
			if !yield(Recipient{mail.Address{Address: fmt.Sprintf("p%d@example.net", i)}, fmt.Sprintf("<%d>", i)}) {
				return
			}
		}
	}
}

// TestTemplate5000: 5,000 recipients get a mail of their own and a Result each, with an attachment of 10 MB that is
// never in memory.
func TestTemplate5000(t *testing.T) {
	const n, size = 5000, 10_000_000
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "a.bin"), nil, 0o600), os.Truncate(filepath.Join(dir, "a.bin"), size)); err != nil {
		t.Fatal(err)
	}
	template := newsletter()
	template.Message.Attachments = []File{{FS: os.DirFS(dir), Path: "a.bin"}}
	var live, most atomic.Int64
	var heap runtime.MemStats
	results := make(map[string]smtp.Outcome, n)
	bad := 0
	sender := smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		b := make([]byte, 4096)
		if _, err := c.ReadAt(b, 0); err != nil {
			return nil, err
		}
		var i int
		fmt.Sscanf(env.Recipients[0].Address, "p%d@", &i)
		for _, want := range []string{fmt.Sprintf("Subject: News for <%d>\r\n", i), fmt.Sprintf("To: <p%d@example.net>\r\n", i), fmt.Sprintf("Hello &lt;%d&gt; <img", i), fmt.Sprintf("Hello <%d>", i)} {
			if !strings.Contains(strings.NewReplacer("=\r\n", "", "=3D", "=").Replace(string(b)), want) {
				return nil, fmt.Errorf("no %q in %s", want, b)
			}
		}
		if i%100 == 7 {
			return nil, smtp.NewReply(550, "5.1.1", "no such user")
		}
		return nil, nil
	})
	err := template.Send(t.Context(), sender, people(n, &live, &most), func(r Recipient, result smtp.Result, err error) {
		live.Add(-1)
		if result.Recipient != r.To.Address || result.Reply == nil {
			t.Errorf("%s: got %+v", r.To.Address, result)
		}
		results[result.Recipient] = result.Outcome
		if result.Outcome == smtp.Rejected && result.Reply.Code == 550 {
			bad++
		} else if err != nil {
			t.Errorf("%s: %v", r.To.Address, err)
		}
		if len(results) == n/2 {
			runtime.GC()
			runtime.ReadMemStats(&heap)
		}
	})
	if err != nil || len(results) != n || bad != n/100 {
		t.Errorf("got %d results, %d of them rejected, %v; want %d and %d", len(results), bad, err, n, n/100)
	}
	if most.Load() > defaultConcurrency+2 || heap.HeapAlloc > 16<<20 {
		t.Errorf("got %d recipients at a time and %d octets of heap", most.Load(), heap.HeapAlloc)
	}
}

// TestTemplateFailures: each recipient has a Result, whatever happens.
func TestTemplateFailures(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls atomic.Int64
	sender := smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		calls.Add(1)
		switch env.Recipients[0].Address {
		case "panics@example.net":
			panic("x")
		case "last@example.net":
			cancel()
		}
		_, err := io.ReadAll(smtp.NewReader(c))
		return nil, err
	})
	to := func(address string, data any) Recipient { return Recipient{mail.Address{Address: address}, data} }
	list := []Recipient{
		to("good@example.net", "Ann"), to("injects@example.net", "Ann\r\nBcc: x@example.org"), to("no address", "x"),
		to("panics@example.net", "x"), to("long@example.net", strings.Repeat("x", 3000)), to("last@example.net", "x"), to("late@example.net", "x"),
	}
	template := newsletter()
	template.MaxText, template.Concurrency = 2000, 1
	got := make(map[string]string)
	err := template.Send(ctx, sender, slices.Values(list), func(r Recipient, result smtp.Result, err error) {
		got[r.To.Address] = fmt.Sprintf("%s %t", result.Outcome, err == nil)
		for address, want := range map[string]string{
			"injects@example.net": "Subject", "no address": "compose: Message.To[0].Address \"no address\"", "panics@example.net": "a panic: x", "long@example.net": "more than 2000 octets",
		} {
			if r.To.Address == address && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: got %v, want %q", address, err, want)
			}
		}
	})
	want := map[string]string{
		"good@example.net": "delivered true", "injects@example.net": "rejected false", "no address": "rejected false", "panics@example.net": "unknown false",
		"long@example.net": "rejected false", "last@example.net": "delivered true", "late@example.net": "deferred false",
	}
	if !errors.Is(err, context.Canceled) || fmt.Sprint(got) != fmt.Sprint(want) || calls.Load() != 3 {
		t.Errorf("got %v, %v and %d calls; want %v", err, got, calls.Load(), want)
	}
}

// TestTemplatePanic: a panic of done reaches the caller, after the goroutines have ended.
func TestTemplatePanic(t *testing.T) {
	before := runtime.NumGoroutine()
	func() {
		defer func() {
			if recover() != "mine" {
				t.Error("got another panic, or none")
			}
		}()
		var live, most atomic.Int64
		newsletter().Send(t.Context(), smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil }),
			people(10, &live, &most), func(Recipient, smtp.Result, error) { panic("mine") })
	}()
	for i := 0; runtime.NumGoroutine() > before; i++ {
		if i > 1e6 {
			t.Fatalf("got %d goroutines, want %d", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}

// TestTemplateClose: the temporary file of a mail is gone when its recipient has a Result.
func TestTemplateClose(t *testing.T) {
	template := newsletter()
	template.Message.Attachments = []File{{Path: "b", FS: unseekable{fstest.MapFS{"b": {Data: octetsOf(inMemory + 1)}}}}}
	var content smtp.Content
	sender := smtp.SenderFunc(func(_ context.Context, _ *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		content = c
		_, err := io.Copy(io.Discard, smtp.NewReader(c))
		return nil, err
	})
	var live, most atomic.Int64
	err := template.Send(t.Context(), sender, people(1, &live, &most), func(_ Recipient, result smtp.Result, err error) {
		if result.Outcome != smtp.Delivered || err != nil {
			t.Errorf("got %s, %v", result.Outcome, err)
		}
		if _, err := content.ReadAt(make([]byte, 1), content.Size()/2); !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v, want that the file is closed", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTemplateCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Template)
		want   string
	}{
		{"good", func(*Template) {}, ""},
		{"recipients", func(t *Template) { t.Message.Bcc = []mail.Address{{Address: "a@b.example"}} }, "Template.Message has recipients"},
		{"an ID", func(t *Template) { t.Message.MessageID = "a@b" }, "Template.Message.MessageID"},
		{"a Reader", func(t *Template) { t.Message.Inline = []File{{Name: "logo.png", Reader: io.MultiReader()}} }, "Inline[0].Reader can be read once"},
		{"no author", func(t *Template) { t.Message.From.Address = "" }, "Template.Message.From"},
		{"no keys", func(t *Template) { t.Message.Unsubscribe = &Unsubscribe{URL: "https://a.example"} }, "Template.Message.Unsubscribe.Keys"},
		{"a bound", func(t *Template) { t.MaxText = -1 }, "Template.MaxText"},
		{"a number", func(t *Template) { t.Concurrency = -1 }, "Template.Concurrency"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			template := newsletter()
			tt.change(template)
			err := template.Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if sent := template.Send(t.Context(), nil, nil, nil); sent == nil {
				t.Error("got no error without a Sender")
			}
		})
	}
}
