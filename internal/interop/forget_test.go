package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// forget makes of a spool what a crash of the machine leaves in the worst case: without what was written and named
// since the last sync of it, as far as strace wrote it down. What a sync that failed had to keep is lost for good.
func forget(t *testing.T, log string) {
	t.Helper()
	type file struct {
		written, durable int64
		failed           bool
	}
	type rename struct {
		from, to        string
		durable, failed bool
	}
	type call struct {
		args    string
		written int64 // when it began
		named   int   // likewise
	}
	files, began := make(map[string]*file), make(map[string]call)
	var renames []*rename
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		m := tracedCall.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		thread, op, args, result := m[1], m[2], m[3], m[4]
		c, resumed := began[thread]
		delete(began, thread)
		c.args += args
		names := tracedName.FindAllStringSubmatch(c.args, -1)
		f := files[names[0][1]]
		if !resumed {
			c.named = len(renames)
			if f != nil {
				c.written = f.written
			}
		}
		if result == "" {
			began[thread] = c
			continue
		}
		ok := result[0] != '-'
		switch {
		case op == "pwritev" && ok:
			var off, n int64
			fmt.Sscan(tracedEnd.FindStringSubmatch(c.args)[1], &off)
			fmt.Sscan(result, &n)
			if f == nil { // what stands before was synced under another name
				f = &file{durable: off}
				files[names[0][1]] = f
			}
			f.written = max(f.written, off+n)
		case op == "fdatasync" && f != nil:
			f.failed = f.failed || !ok
			if !f.failed {
				f.durable = max(f.durable, c.written)
			}
		case op == "fsync":
			for _, r := range renames[:c.named] {
				r.failed = r.failed || !ok && !r.durable
				r.durable = !r.failed
			}
		case op == "renameat" && ok:
			at := tracedAt.FindAllStringSubmatch(c.args, -1)
			r := &rename{from: filepath.Join(at[0][1], at[0][2]), to: filepath.Join(at[1][1], at[1][2])}
			renames = append(renames, r)
			if f := files[r.from]; f != nil {
				files[r.to] = f
				delete(files, r.from)
			}
		}
	}
	for name, f := range files {
		if info, err := os.Stat(name); err == nil && info.Size() > f.durable {
			if err := os.Truncate(name, f.durable); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, r := range slices.Backward(renames) {
		if !r.durable {
			os.Rename(r.to, r.from) // unless it is removed by now
		}
	}
}

var (
	tracedCall = regexp.MustCompile(`^(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*?)(?:\) += (-?\d+)| <unfinished \.\.\.>)`)
	tracedName = regexp.MustCompile(`[<"](/[^">]+)[">]`)
	tracedAt   = regexp.MustCompile(`<(/[^>]+)>, "([^"]+)"`) // a name relative to a directory
	tracedEnd  = regexp.MustCompile(`, (\d+)$`)
)
