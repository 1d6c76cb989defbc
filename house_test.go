package postrider

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

const module = "github.com/postrider/postrider"

// arrows lists, for each package, which of the module's packages it may import: the picture of the design. Every
// package may import smtp and smtp/replies, and a sub-package its parent. Packages that aren't built yet may be absent.
var arrows = map[string][]string{
	"smtp":          nil,
	"smtp/replies":  nil,
	"smtp/spf":      nil,
	"smtp/dmarc":    nil,
	"smtp/smtptest": {"mx", "mx/dns", "internal/quota"},

	"mx":     {"mx/dns", "internal/guard"},
	"mx/dns": nil,
	"mx/mtasts": {"mx/dns", "internal/files", "internal/pkix", "mx/internal/txtrecord", "internal/webhost", "internal/guard",
		"internal/clip"},
	"mx/dane":   {"mx/dns", "internal/pkix"},
	"mx/tlsrpt": {"mx/dns", "internal/files", "mx/internal/txtrecord", "internal/webhost", "internal/guard"},

	"mx/internal/txtrecord": nil,
	"internal/webhost":      {"mx", "internal/guard"},

	"client":           {"mx", "internal/guard", "internal/header", "internal/pkix", "internal/scram"},
	"client/compose":   nil,
	"client/dkim":      {"internal/canonical", "internal/guard", "internal/header"},
	"client/oauth":     nil,
	"client/warmup":    {"internal/files", "internal/flock"},
	"client/preflight": {"smtp/spf", "smtp/dmarc", "mx", "mx/dns", "internal/header", "internal/iprev"},

	"server": {"internal/guard", "internal/header", "internal/scram", "internal/iprev",
		"server/internal/spill", "server/internal/words"},
	"server/inbox": {"internal/guard", "internal/mimetext", "internal/quota", "internal/web",
		"server/internal/recent"},
	"server/proxy":     nil,
	"server/dnsbl":     {"server/internal/recent", "server/internal/words"},
	"server/early":     nil,
	"server/greylist":  {"internal/flock", "server/internal/recent", "server/internal/words"},
	"server/ratelimit": {"server/internal/recent", "server/internal/words"},
	"server/authres": {"smtp/spf", "smtp/dmarc", "internal/canonical", "internal/guard", "internal/header",
		"internal/iprev", "server/internal/words"},
	"server/milter":   {"internal/guard", "server/internal/words"},
	"bounce":          {"internal/guard", "internal/mimetext"},
	"bounce/suppress": {"internal/clip", "internal/files", "internal/flock", "internal/guard"},

	"queue":                    nil,
	"queue/delivery":           {"internal/heap", "internal/guard", "queue/internal/permits"},
	"queue/delivery/receivers": nil,
	"queue/delivery/kumo":      {"queue/delivery/receivers"},
	"queue/internal/permits":   nil,
	"queue/drain":              {"internal/files", "internal/flock", "internal/guard"},
	"queue/spool":              {"internal/flock", "internal/guard", "queue/internal/index"},
	"queue/mem":                {"queue/internal/index"},
	"queue/pgqueue":            {"queue/internal/index"},
	"queue/queuetest":          nil,
	"queue/webhook": {"queue/delivery", "mx", "internal/clip", "internal/guard", "internal/header",
		"internal/webhost"},
	"queue/queueweb": {"queue/delivery", "internal/web"},

	"server/internal/checktest": {"server", "smtp/smtptest"},
	"server/internal/recent":    nil,
	"server/internal/spill":     nil,
	"server/internal/words":     nil,

	"queue/internal/index":     {"queue", "internal/clip", "internal/heap"},
	"queue/internal/crashfs":   nil,
	"queue/internal/clocktest": nil,
	"internal/canonical":       nil,
	"internal/clip":            nil,
	"internal/heap":            nil,
	"internal/files":           nil,
	"internal/flock":           nil,
	"internal/guard":           nil,
	"internal/header":          nil,
	"internal/iprev":           nil,
	"internal/mimetext":        nil,
	"internal/pkix":            nil,
	"internal/quota":           nil,
	"internal/scram":           nil,
	"internal/web":             {"internal/clip"},
	"internal/web/webtest":     nil,

	".": {"internal/guard", "internal/header", "mx", "client", "server", "queue", "queue/delivery",
		"queue/delivery/receivers", "bounce",
		"bounce/suppress"},
}

// built are the packages that must be there.
var built = []string{
	".", "smtp", "smtp/replies", "smtp/spf", "smtp/dmarc", "smtp/smtptest", "mx", "mx/dns", "client", "client/compose",
	"client/dkim", "server", "server/authres", "server/inbox", "bounce", "bounce/suppress",
	"queue", "queue/delivery", "queue/spool", "queue/mem", "queue/pgqueue", "queue/queuetest", "queue/queueweb",
	"queue/webhook", "queue/internal/index",
}

func mayImport(dir, to string) bool {
	return to == "smtp" || to == "smtp/replies" || to == path.Dir(dir) || slices.Contains(arrows[dir], to)
}

func TestArrows(t *testing.T) {
	seen := make(map[string]bool)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") ||
			strings.HasPrefix(dir, "examples") {
			return nil
		}
		if _, ok := arrows[dir]; !ok && !seen[dir] {
			t.Errorf("package %s isn't in the picture", dir)
		}
		seen[dir] = true
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if to, ok := strings.CutPrefix(imported, module+"/"); ok && !mayImport(dir, to) {
				t.Errorf("%s imports %s: that arrow isn't drawn", name, to)
			}
			if path.Base(imported) == "testing" && !strings.HasSuffix(dir, "test") {
				t.Errorf("%s imports testing", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range built {
		if !seen[dir] {
			t.Errorf("package %s isn't there", dir)
		}
	}
}

// TestDependencies pins the modules that an importer of the root package gets.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	got = slices.Compact(got)
	want := []string{"github.com/emersion/go-sasl", module, "golang.org/x/net", "golang.org/x/text"}
	if !slices.Equal(got, want) {
		t.Errorf("got modules %q, want %q", got, want)
	}
}

// TestColumns: lines of code and comment end at 120 columns, a tab being four. Tests may have longer rows of a table, and
// a link in a doc can't be broken.
func TestColumns(t *testing.T) {
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		b, err := os.ReadFile(name)
		for i, line := range strings.Split(string(b), "\n") {
			if n := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")); n > 120 && !strings.Contains(line, "]: https://") {
				t.Errorf("%s:%d has %d columns", name, i+1, n)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// preludes declare what each Go snippet of the README takes for granted, in their order.
var preludes = []string{
	`var ctx context.Context; var user, password string; var assets, orders fs.FS; suppress := func(string) {}; _ = err`,
	`var ctx context.Context; var mailboxes mx.Route; var lan netip.Prefix; var tlsConfig *tls.Config
	var directory interface { Lookup(context.Context, *server.Peer, smtp.Recipient) error }`,
	`var t *testing.T; signup := func(*postrider.Relay, string) {}`,
	`var relay *postrider.Relay`,
	`var relay *postrider.Relay`,
	`var relay *postrider.Relay; var file []byte`,
	`var relay *postrider.Relay; handle := func(context.Context, *smtp.Envelope, io.Reader) error { return nil }`,
	`var relay *postrider.Relay; var keys [][]byte`,
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
		"context": "context", "io": "io", "net": "net", "netip": "net/netip", "slog": "log/slog", "strings": "strings", "testing": "testing",
		"synctest": "testing/synctest", "time": "time", "tls": "crypto/tls",
		"fs": "io/fs", "mail": "net/mail", "compose": module + "/client/compose",
		"postrider": module, "client": module + "/client", "dkim": module + "/client/dkim", "dns": module + "/mx/dns",
		"authres": module + "/server/authres", "dnsbl": module + "/server/dnsbl", "early": module + "/server/early",
		"bounce": module + "/bounce", "suppress": module + "/bounce/suppress",
		"delivery": module + "/queue/delivery", "mem": module + "/queue/mem",
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
