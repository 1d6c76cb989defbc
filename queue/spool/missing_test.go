package spool

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
)

// severalSegments gives the files of a spool whose segments have numbers from 1 to the returned one, with a large message in each
// but the last, and what it holds.
func severalSegments(t *testing.T) (files map[string][]byte, last uint32, want map[string]string) {
	disk := crashfs.New[File](nil)
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, disk, runtimeOptions)
		for range 3 {
			mustEnqueue(t, s, strings.Repeat("large ", 4000), "large.example")
			for seg := s.log.last(); s.log.last() == seg; {
				mustEnqueue(t, s, strings.Repeat("x", 3000), "d.example")
			}
		}
		synctest.Wait() // for the hints, and the roster
		last, want = s.log.last().number, contents(t, s)
		mustClose(t, s)
	})
	if last != 4 {
		t.Fatalf("got %d segments, want 4", last)
	}
	return disk.Files(), last, want
}

// TestSpoolMissingSegments removes segments, the first and the last ones among them: each is reported, once; all bodies and hints
// stay, and no ID comes again. A mark is kept until it is removed.
func TestSpoolMissingSegments(t *testing.T) {
	quiet(t)
	for _, lost := range [][]uint32{{1}, {1, 2}, {2}, {2, 3}, {4}, {3, 4}, {1, 4}, {1, 2, 3, 4}} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			files, _, want := severalSegments(t)
			synctest.Test(t, func(t *testing.T) {
				for _, number := range lost {
					delete(files, segmentName(number))
				}
				disk := crashfs.New[File](files)
				s := mustOpen(t, disk, runtimeOptions)
				var reported []uint32
				for _, d := range s.Damage() {
					number, _ := segmentNumber(d.File, segmentSuffix)
					reported = append(reported, number)
				}
				if !slices.Equal(reported, lost) {
					t.Errorf("got damage %+v, want segments %v", s.Damage(), lost)
				}
				for key, body := range contents(t, s) {
					if want[key] != body {
						t.Errorf("%s: got it, or another body than it had", key)
					}
				}
				id := mustEnqueue(t, s, strings.Repeat("more ", 5000), "d.example")
				for key := range want {
					if old, _, _ := strings.Cut(key, " "); old == string(id) {
						t.Errorf("got ID %s a second time", id)
					}
				}
				synctest.Wait()
				mustClose(t, s)
				kept := func(when string) {
					t.Helper()
					now := disk.Files()
					for name, b := range files {
						if strings.HasSuffix(name, bodySuffix) && !bytes.Equal(now[name], b) {
							t.Errorf("%s: %s is gone, or another one", when, name)
						}
						if number, ok := segmentNumber(name, hintSuffix); ok && slices.Contains(lost, number) && now[name] == nil {
							t.Errorf("%s: %s is gone", when, name)
						}
					}
				}
				kept("opened")
				s = mustOpen(t, disk, runtimeOptions)
				checkNoDamage(t, s)
				mustClose(t, s)
				kept("opened again")
				for _, number := range lost {
					if mark, ok := disk.Files()[segmentName(number)+damagedSuffix]; !ok || len(mark) > 0 {
						t.Errorf("segment %d: got a mark: %v, with %d octets, want an empty one", number, ok, len(mark))
					}
				}
			})
		})
	}
}

// TestSpoolSegmentReturns brings a segment back that was missing, with its mark: all is there again.
func TestSpoolSegmentReturns(t *testing.T) {
	quiet(t)
	for lost := uint32(1); lost <= 4; lost++ {
		files, _, want := severalSegments(t)
		synctest.Test(t, func(t *testing.T) {
			segment := files[segmentName(lost)]
			delete(files, segmentName(lost))
			disk := crashfs.New[File](files)
			mustClose(t, mustOpen(t, disk, runtimeOptions))
			files = disk.Files()
			files[segmentName(lost)] = segment
			s := mustOpen(t, crashfs.New[File](files), runtimeOptions)
			checkNoDamage(t, s)
			checkContents(t, s, want)
		})
	}
}

// TestSpoolEarlierProgram has a program that keeps no roster open the spool in between, remove the oldest segments and begin new
// ones: nothing is missing.
func TestSpoolEarlierProgram(t *testing.T) {
	files, last, _ := severalSegments(t)
	earlier := maps.Clone(files) // its segment takes the place of the last one, which is empty but for its mark
	older := fuzzSegment(segmentHeader{number: last, next: 2 << 20, previous: uint32(len(files[segmentName(last-1)]))}, nil)
	earlier[segmentName(last)] = older
	delete(earlier, segmentName(1))
	delete(earlier, segmentName(2))
	next := maps.Clone(files) // or comes after it
	next[segmentName(last+1)] = fuzzSegment(segmentHeader{number: last + 1, next: 2 << 20, previous: uint32(len(files[segmentName(last)]))}, nil)
	delete(next, segmentName(1))
	only := map[string][]byte{rosterName: files[rosterName], segmentName(last + 1): next[segmentName(last+1)]}
	for i, files := range []map[string][]byte{earlier, next, only} {
		s := mustOpen(t, crashfs.New[File](files), runtimeOptions)
		if d := s.Damage(); len(d) > 0 {
			t.Errorf("%d: got damage %+v, want none", i, d)
		}
		mustClose(t, s)
	}
}

// TestSpoolRosterDamaged has one slot of the roster, or both, damaged or from elsewhere: nothing is lost, and nothing is missing
// that isn't.
func TestSpoolRosterDamaged(t *testing.T) {
	quiet(t)
	files, _, want := severalSegments(t)
	whole := files[rosterName]
	newer := bytes.Clone(whole)
	for _, at := range []int64{0, sector} {
		newer[at+16] = rosterVersion + 1
	}
	tests := []struct {
		name   string
		roster []byte
		damage int
	}{
		{"a torn slot", append(make([]byte, 60), whole[60:]...), 0},
		{"the other one", slices.Concat(whole[:sector+10], make([]byte, slotLen)), 0},
		{"both", make([]byte, sector+slotLen), 1},
		{"cut", whole[:100], 0},
		{"empty", []byte{}, 1},
		{"a newer version", newer, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := maps.Clone(files)
			changed[rosterName] = tt.roster
			s := mustOpen(t, crashfs.New[File](changed), runtimeOptions)
			checkContents(t, s, want)
			if d := s.Damage(); len(d) != tt.damage || len(d) > 0 && d[0].File != rosterName {
				t.Errorf("got damage %+v, want %d findings", d, tt.damage)
			}
			mustClose(t, s)
		})
	}
	delete(files, rosterName)
	s := mustOpen(t, crashfs.New[File](files), runtimeOptions)
	checkNoDamage(t, s)
	checkContents(t, s, want)
}

// TestSpoolRosterFails has the roster fail to be written: the spool goes on, and misses nothing at the next opening.
func TestSpoolRosterFails(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			s, _ := livingSpool(t, disk)
			disk.Before = func(is string, names ...string) error {
				if is == op && names[0] == rosterName {
					return syscall.ENOSPC
				}
				return nil
			}
			if !churnPast(t, s, 2) {
				t.Errorf("%s: compaction doesn't go on", op)
			}
			mustClose(t, s)
			if _, ok := disk.Files()[rosterName]; ok {
				t.Errorf("%s: the roster is there, and out of date", op)
			}
			s = mustOpen(t, disk, runtimeOptions)
			checkNoDamage(t, s)
			mustClose(t, s)
		})
	}
}

// TestSpoolFirstSector can't read the first sector of a segment, or nothing of it, or can't open it: the spool opens, and loses what
// is there.
func TestSpoolFirstSector(t *testing.T) {
	quiet(t)
	files, last, want := severalSegments(t)
	const message = 3200 // and a little more, as it is in the log
	tests := []struct {
		name string
		bad  func(off int64, n int) bool
		lose int // tasks, at most
	}{
		{"first sector", func(off int64, _ int) bool { return off < sector }, 1 + sector/message + 1},
		{"first octet", func(off int64, _ int) bool { return off == 0 }, 1 + sector/message + 1},
		{"all", func(int64, int) bool { return true }, len(want)},
	}
	for _, tt := range tests {
		for number := uint32(1); number <= last; number++ {
			for _, hints := range []bool{true, false} {
				name := fmt.Sprintf("%s of segment %d, hints: %v", tt.name, number, hints)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						disk := crashfs.New[File](files)
						for name := range files {
							if !hints && strings.HasSuffix(name, hintSuffix) {
								disk.Remove(name)
							}
						}
						disk.Sync()
						disk.Reading = func(name string, off int64, n int) error {
							if name == segmentName(number) && tt.bad(off, n) {
								return syscall.EIO
							}
							return nil
						}
						s := mustOpen(t, disk, runtimeOptions)
						got, _ := readable(s)
						if lost := len(want) - len(got); lost > tt.lose {
							t.Errorf("lost %d tasks, want at most %d", lost, tt.lose)
						}
						if d := s.Damage(); len(d) == 0 || d[0].File != segmentName(number) {
							t.Errorf("got damage %+v, want the segment first", d)
						}
						for key := range got {
							if _, ok := want[key]; !ok {
								t.Errorf("%s: got it, want it gone", key)
							}
						}
						mustEnqueue(t, s, "more", "d.example")
						mustClose(t, s)
						mustClose(t, mustOpen(t, disk, runtimeOptions))
					})
				})
			}
		}
	}
}

// TestSpoolTailUnreadable can't read the end of the newest segment, which nothing says was synced: it may have been, so it is
// damage.
func TestSpoolTailUnreadable(t *testing.T) {
	quiet(t)
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	for range 3 {
		mustEnqueue(t, s, strings.Repeat("x", 2*sector), "d.example")
	}
	killed := disk.After("killed", nil)
	off := int64(s.ix.TasksOf(3)[0].Data.off) + sector
	killed.Reading = func(_ string, at int64, n int) error {
		if at <= off && off < at+int64(n) {
			return syscall.EIO
		}
		return nil
	}
	s = mustOpen(t, killed, testConfig)
	if d := s.Damage(); len(d) != 1 || d[0].File != segmentName(1) {
		t.Errorf("got damage %+v, want the end of the segment", d)
	}
	if n := len(contents(t, s)); n != 2 {
		t.Errorf("got %d tasks, want 2", n)
	}
}

// TestSpoolOpensFull opens a spool on a full disk, of which its own files that aren't complete take much, or its hints.
func TestSpoolOpensFull(t *testing.T) {
	files, _, want := severalSegments(t)
	for _, name := range []string{"12.body.tmp", segmentName(5) + tempSuffix, spareName(1), ""} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(files)
			if name != "" {
				for hint := range files {
					if strings.HasSuffix(hint, hintSuffix) {
						delete(files, hint)
					}
				}
				files[name] = make([]byte, 20<<10)
			}
			disk := crashfs.New[File](files)
			for _, b := range files {
				disk.Space += int64(len(b))
			}
			s := mustOpen(t, disk, runtimeOptions)
			checkContents(t, s, want)
			checkNoDamage(t, s)
			for _, task := range mustClaim(t, s, "d.example") {
				mustSettle(t, s, task.Lease, queue.Settlement{})
			}
			mustClose(t, s)
		})
	}
}

// TestSpoolLiving lists the messages of a segment in their order.
func TestSpoolLiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := livingSpool(t, crashfs.New[File](nil))
		got := s.living(s.log.oldest())
		for i, id := range ids {
			if n, _ := index.ParseID(id); len(got) < len(ids) || got[i] != n {
				t.Fatalf("got %v, want it to begin with %v in the order of the segment", got, ids)
			}
		}
	})
}

// TestSpoolRosterGone has the roster fail to be written, and then a crash while segments go: none is missed.
func TestSpoolRosterGone(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s, ids := livingSpool(t, disk)
		var mu sync.Mutex
		left := map[string]*crashfs.FS[File]{}
		disk.Before = func(op string, names ...string) error {
			mu.Lock()
			defer mu.Unlock()
			failed := op == "sync" && names[0] == rosterName
			if failed || len(left) > 0 {
				for _, kind := range crashfs.Kinds {
					left[fmt.Sprintf("%d: %s before %s%v", len(left), kind, op, names)] = disk.After(kind, nil)
				}
			}
			if failed {
				return syscall.EIO
			}
			return nil
		}
		if err := s.Remove(t.Context(), ids); err != nil {
			t.Fatal(err)
		}
		if !churnPast(t, s, 2) {
			t.Error("compaction doesn't go on")
		}
		disk.Before = nil
		mustClose(t, s)
		for when, disk := range left {
			s := mustOpen(t, disk, runtimeOptions)
			if got := s.Damage(); len(got) > 0 {
				t.Errorf("%s: got %+v, want no damage", when, got)
			}
			mustClose(t, s)
		}
	})
}

// TestFindSalts prefers the salt that the next segment has to that of the roster, which may be out of date.
func TestFindSalts(t *testing.T) {
	a, b := salt{'a'}, salt{'b'}
	next := func(before salt) *segment {
		return &segment{number: 6, readable: true, header: segmentHeader{number: 6, before: before}}
	}
	for _, tt := range []struct {
		name     string
		after    *segment
		r        *roster
		want     salt
		readable bool
	}{
		{"neither", next(salt{}), nil, salt{}, false},
		{"the next one", next(a), nil, a, true},
		{"the roster", next(unknownSalt), &roster{last: 5, salt: b}, b, true},
		{"both", next(a), &roster{last: 5, salt: b}, a, true},
		{"another's roster", next(salt{}), &roster{last: 6, salt: b}, salt{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seg := &segment{number: 5, damaged: true}
			findSalts([]*segment{seg, tt.after}, tt.r)
			if seg.salt != tt.want || seg.readable != tt.readable {
				t.Errorf("got %q and %v, want %q and %v", seg.salt, seg.readable, tt.want, tt.readable)
			}
		})
	}
}
