package spool

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
)

// TestSpoolClosesFiles has a spool do all that opens files: while it works, only its segments and its roster are open;
// after Close, and after an Open that fails, nothing is.
func TestSpoolClosesFiles(t *testing.T) {
	quiet(t)
	options := Options{SegmentSize: 16 << 10, InlineSize: 1 << 10, SyncDelay: time.Second}
	work := func(t *testing.T, s *Spool) {
		t.Helper()
		for i := range 200 {
			size := 500
			if i%10 == 0 {
				size = 3000 // in a file of its own
			}
			id := mustEnqueue(t, s, strings.Repeat("x", size), "a.example", "keep.example")
			if _, err := readBody(s, id); err != nil {
				t.Fatal(err)
			}
			mustSettle(t, s, mustClaim(t, s, "a.example")[0].Lease, queue.Settlement{})
			if i%5 > 0 {
				if err := s.Remove(t.Context(), []queue.ID{id}); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Minute) // for the janitor
		synctest.Wait()
	}
	tests := []struct {
		name   string
		change func(files map[string][]byte)
		fails  bool
	}{
		{"closed", func(map[string][]byte) {}, false},
		{"without hints", func(files map[string][]byte) {
			for name := range files {
				if strings.HasSuffix(name, hintSuffix) {
					delete(files, name)
				}
			}
		}, false},
		{"without a roster", func(files map[string][]byte) { delete(files, rosterName) }, false},
		{"with a damaged roster", func(files map[string][]byte) { clear(files[rosterName]) }, false},
		{"with a damaged hint", func(files map[string][]byte) {
			for name, b := range files {
				if strings.HasSuffix(name, hintSuffix) {
					clear(b)
				}
			}
		}, false},
		{"with a damaged segment", func(files map[string][]byte) {
			for name, b := range files {
				if strings.HasSuffix(name, segmentSuffix) && name != newest(files) {
					clear(b[segmentHeaderLen:])
					files[name+damagedSuffix] = []byte("another one, of earlier")
					break
				}
			}
		}, false},
		{"a later version", func(files map[string][]byte) {
			b := files[newest(files)]
			copy(b, bytes.Replace(b[:segmentHeaderLen], []byte{segmentVersion, 0, 0, 0}, []byte{segmentVersion + 1, 0, 0, 0}, 1))
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := crashfs.New[File](nil)
				s := mustOpen(t, disk, options)
				work(t, s)
				mustClose(t, s)
				if n := disk.Opened(); n != 0 {
					t.Errorf("got %d files open after Close", n)
				}
				files := disk.Files()
				tt.change(files)
				disk = crashfs.New[File](files)
				s, err := openSpool(disk, "memory", options)
				if err != nil {
					if n := disk.Opened(); n != 0 {
						t.Errorf("got %d files open after an Open that failed: %v", n, err)
					}
					return
				}
				work(t, s)
				if n, segments := disk.Opened(), len(s.log.all()); n > segments+2 { // the roster, and a spare
					t.Errorf("got %d files open, want at most those of %d segments, the roster and a spare", n, segments)
				}
				mustClose(t, s)
				if n := disk.Opened(); n != 0 {
					t.Errorf("got %d files open after Close", n)
				}
			})
		})
	}
}

// TestEndTurn has compaction free three segments in a turn: only the end of the turn says whether it was for nothing.
func TestEndTurn(t *testing.T) {
	for _, tt := range []struct {
		name   string
		moved  int64
		futile bool
	}{{"little is moved", 100, false}, {"most is moved", 259, false}, {"nearly all is moved", 260, true}} {
		synctest.Test(t, func(t *testing.T) {
			s := mustOpen(t, crashfs.New[File](nil), testConfig)
			s.turn, s.futile = turn{end: 3}, 1
			for number := uint32(1); number <= 3; number++ {
				if s.futile != 1 {
					t.Errorf("%s: got the turn judged before segment %d", tt.name, number)
				}
				s.turn.moved += tt.moved / 3
				if number == 3 {
					s.turn.moved = tt.moved
				}
				s.endTurn(&segment{number: number, size: 100})
			}
			if got := s.futile > 0; got != tt.futile {
				t.Errorf("%s: got it for nothing: %v, want %v", tt.name, got, tt.futile)
			}
			_, _, size := s.log.shape()
			if want := size - s.live + s.config.SegmentSize/4; tt.futile && s.futile != want {
				t.Errorf("%s: got the next turn at a waste of %d, want %d", tt.name, s.futile, want)
			}
			if want := (turn{end: s.log.last().number}); s.turn != want {
				t.Errorf("%s: got the next turn %+v, want %+v", tt.name, s.turn, want)
			}
			s.turn.end = 0 // the first turn after an opening began anywhere
			s.turn.moved = 1000
			if s.endTurn(&segment{number: 9, size: 100}); s.futile != 0 {
				t.Errorf("%s: got a part of a turn judged", tt.name)
			}
		})
	}
}
