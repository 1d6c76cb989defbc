package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// octetsOf are n octets, always the same.
func octetsOf(n int) []byte {
	b := make([]byte, n)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// TestReadAt: each piece of a mail is the same at each read.
func TestReadAt(t *testing.T) {
	m := simple()
	for _, n := range []int{0, 1, 56, 57, 58, 114, 1000, 20_000} {
		m.Attachments = append(m.Attachments, File{Name: "a.bin", Reader: bytes.NewReader(octetsOf(n))})
	}
	_, c, err := m.Compose()
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(smtp.NewReader(c))
	if err != nil || int64(len(all)) != c.Size() {
		t.Fatalf("got %d octets, %v; want %d", len(all), err, c.Size())
	}
	if err := iotest.TestReader(smtp.NewReader(c), all); err != nil {
		t.Error(err)
	}
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(i)))
			for range 2000 {
				off := random.IntN(len(all) + 3)
				p := make([]byte, random.IntN(1<<random.IntN(14)))
				n, err := c.ReadAt(p, int64(off))
				want := all[min(off, len(all)):min(off+len(p), len(all))]
				if !bytes.Equal(p[:n], want) || (n < len(p) || off >= len(all)) != (err == io.EOF) {
					t.Errorf("%d octets at %d: got %d, %v; want %d", len(p), off, n, err, len(want))
					return
				}
			}
		})
	}
	group.Wait()
	var b bytes.Buffer
	if n, err := c.WriteTo(&b); n != c.Size() || err != nil || !bytes.Equal(b.Bytes(), all) {
		t.Errorf("WriteTo: got %d octets, %v; want those of ReadAt", n, err)
	}
	if n, err := c.ReadAt(make([]byte, 1), -1); n != 0 || err == nil {
		t.Errorf("offset -1: got %d, %v", n, err)
	}
}

// TestStreams: a mail with a file of 50 MB is composed and read in 1 MiB of memory.
func TestStreams(t *testing.T) {
	const size = 50_000_000
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "large.bin"))
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	m := simple()
	m.Attachments = []File{{FS: os.DirFS(dir), Path: "large.bin"}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, c, err := m.Compose()
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(struct{ io.Writer }{io.Discard}, smtp.NewReader(c))
	runtime.ReadMemStats(&after)
	if err != nil || n != c.Size() || n < size*4/3 {
		t.Errorf("got %d octets, %v; want %d", n, err, c.Size())
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("got %d octets of memory in all, want at most 4 MiB", got)
	}
	m.MaxSize = size
	if _, _, err := m.Compose(); err == nil || !strings.Contains(err.Error(), "MaxSize is 50000000 octets, and the mail has 684") {
		t.Errorf("got %v, want that it is over MaxSize", err)
	}
}

// TestChangedFile: a file that isn't the one of Compose any more is an error, never half a mail.
func TestChangedFile(t *testing.T) {
	when := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		change func(fstest.MapFS)
		want   string
	}{
		{"the same", func(fstest.MapFS) {}, ""},
		{"longer", func(f fstest.MapFS) { f["a"] = &fstest.MapFile{Data: []byte("longer"), ModTime: when} }, "has changed"},
		{"newer", func(f fstest.MapFS) { f["a"] = &fstest.MapFile{Data: []byte("old"), ModTime: when.Add(1)} }, "has changed"},
		{"gone", func(f fstest.MapFS) { delete(f, "a") }, "not exist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{"a": {Data: []byte("old"), ModTime: when}}
			m := simple()
			m.Attachments = []File{{FS: files, Path: "a", Name: "a.txt"}}
			_, c, err := m.Compose()
			if err != nil {
				t.Fatal(err)
			}
			tt.change(files)
			_, err = c.WriteTo(io.Discard)
			if _, readErr := io.ReadAll(smtp.NewReader(c)); fmt.Sprint(readErr) != fmt.Sprint(err) {
				t.Errorf("WriteTo: got %v, want that of ReadAt, %v", err, readErr)
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "a.txt")) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// unseekable is a file system whose files can only be read from front to end, as those of an archive.
type unseekable struct{ fs.FS }

func (u unseekable) Open(name string) (fs.File, error) {
	f, err := u.FS.Open(name)
	return struct{ fs.File }{f}, err
}

// TestSpool: Readers that can be read once are kept: small ones in memory, others in a file until Close.
func TestSpool(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, size := range []int{0, 1, inMemory, inMemory + 1, 300_000} {
		data := octetsOf(size)
		m := simple()
		m.Attachments = []File{
			{Name: "a", Reader: struct{ io.Reader }{bytes.NewReader(data)}},
			{Path: "b", FS: unseekable{fstest.MapFS{"b": {Data: data}}}},
		}
		_, c, err := m.Compose()
		if err != nil {
			t.Fatal(err)
		}
		s, err := io.ReadAll(smtp.NewReader(c))
		if err != nil {
			t.Fatal(err)
		}
		p, err := readStrict(string(s))
		if err != nil || p.parts[1].body != string(data) || p.parts[2].body != string(data) {
			t.Errorf("%d octets: got others, %v", size, err)
		}
		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(smtp.NewReader(c)); (err != nil) != (size > inMemory) {
			t.Errorf("%d octets: got %v after Close", size, err)
		}
	}
	m := simple()
	m.MaxSize = 100_000
	m.Attachments = []File{{Name: "a", Reader: endless{}}}
	if _, _, err := m.Compose(); err == nil || !strings.Contains(err.Error(), "MaxSize") {
		t.Errorf("endless: got %v, want MaxSize", err)
	}
	m.Attachments = []File{{Name: "a", Reader: iotest.ErrReader(errors.New("broken"))}}
	if _, _, err := m.Compose(); err == nil || !strings.Contains(err.Error(), "Attachments[0]: broken") {
		t.Errorf("got %v, want that it is broken", err)
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("got the files %v, want none", left)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// sized is a Content that claims a size.
type sized struct {
	io.Reader
	size int64
}

func (s sized) Size() int64                           { return s.size }
func (s sized) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

// claims is a file system whose files claim a size.
type claims int64

func (c claims) Open(name string) (fs.File, error) {
	f, err := fstest.MapFS{name: {}}.Open(name)
	return claimed{f, sized{size: int64(c)}}, err
}

type claimed struct {
	fs.File
	io.ReaderAt
}

func (c claimed) Stat() (fs.FileInfo, error) {
	info, err := c.File.Stat()
	return claimedInfo{info, c.ReaderAt.(sized).size}, err
}

type claimedInfo struct {
	fs.FileInfo
	size int64
}

func (c claimedInfo) Size() int64 { return c.size }

// TestClaimedSize: a size that can't be right is an error, also where sums of it would overflow.
func TestClaimedSize(t *testing.T) {
	for _, size := range []int64{-1, -100, 200 << 20, 1 << 62, 6_800_000_000_000_000_000, math.MaxInt64} {
		for _, most := range []int64{0, math.MaxInt64} {
			for _, f := range []File{{Name: "a", Reader: sized{size: size}}, {Path: "a", FS: claims(size)}} {
				m := simple()
				m.MaxSize, m.Attachments = most, []File{f, f}
				_, c, err := m.Compose()
				if size == 200<<20 && most > 0 {
					if err != nil || c.Size() < 2*size {
						t.Errorf("got %v for %d octets and no bound", err, size)
					}
				} else if err == nil || !strings.Contains(err.Error(), "MaxSize") {
					t.Errorf("%d octets, MaxSize %d: got %v, want an error about MaxSize", size, most, err)
				}
			}
		}
	}
	m := simple()
	m.MaxSize, m.Attachments = math.MaxInt64, []File{{Name: "a", Reader: struct{ io.Reader }{bytes.NewReader(octetsOf(300_000))}}}
	_, c, err := m.Compose()
	if err != nil || c.Size() < 400_000 {
		t.Fatalf("got %v, %v, want all of the Reader", c, err)
	}
	c.Close()
}
