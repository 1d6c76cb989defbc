package postrider

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// preludes declare what each Go snippet of the README takes for granted, in their order.
var preludes = []string{
	`var ctx context.Context; var user, password, message string; suppress := func(string) {}; _ = err`,
	`var ctx context.Context; var mailboxes mx.Route; var lan netip.Prefix; var tlsConfig *tls.Config
	var directory interface { Lookup(context.Context, *server.Peer, smtp.Recipient) error }`,
	`var t *testing.T; signup := func(*postrider.Relay, string) {}`,
	`var relay *postrider.Relay`,
	`var relay *postrider.Relay; handle := func(context.Context, *smtp.Envelope, io.Reader) error { return nil }`,
	`func openMyQueue(*testing.T) queue.Queue { return nil }`,
	``,
	`var q queue.Queue; var sources []client.Source; _ = relay`,
}

// TestReadme compiles every Go snippet of the README.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(snippets) != len(preludes) {
		t.Fatalf("got %d snippets, want %d: each has a prelude", len(snippets), len(preludes))
	}
	for i, snippet := range snippets {
		code, before := snippet[1], preludes[i]
		if strings.HasPrefix(code, "func ") || strings.HasPrefix(code, "type ") {
			code = before + "\n" + code
		} else {
			// What a snippet declares and doesn't use is marked in the prelude by _ = name.
			var after []string
			for _, m := range regexp.MustCompile(`_ = \w+`).FindAllString(before, -1) {
				before, after = strings.Replace(before, m, "", 1), append(after, m)
			}
			code = "func snippet() error {\n" + before + "\n" + code
			if strings.Contains(snippet[1], "\nreturn ") {
				code += "}"
			} else {
				code += strings.Join(after, "\n") + "\nreturn nil\n}"
			}
		}
		compile(t, fmt.Sprintf("snippet %d:\n%s", i+1, snippet[1]), code)
	}
}

// compile builds a file of code, with the imports that it needs.
func compile(t *testing.T, name, code string) {
	t.Helper()
	var imports strings.Builder
	for pkg, path := range map[string]string{
		"context": "context", "io": "io", "net": "net", "netip": "net/netip", "slog": "log/slog", "testing": "testing",
		"synctest": "testing/synctest", "time": "time", "tls": "crypto/tls",
		"postrider": module, "client": module + "/client", "delivery": module + "/queue/delivery", "mem": module + "/queue/mem",
		"mx": module + "/mx", "queue": module + "/queue", "queuetest": module + "/queue/queuetest", "server": module + "/server",
		"smtp": module + "/smtp", "smtptest": module + "/smtp/smtptest", "spool": module + "/queue/spool",
	} {
		if regexp.MustCompile(`\b` + pkg + `\.[A-Z]`).MatchString(code) {
			fmt.Fprintf(&imports, "import %q\n", path)
		}
	}
	file := filepath.Join(t.TempDir(), "snippet.go")
	if err := os.WriteFile(file, []byte("package snippet\n"+imports.String()+code), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", os.DevNull, file).CombinedOutput(); err != nil {
		t.Errorf("%s\n%v\n%s", name, err, out)
	}
}
