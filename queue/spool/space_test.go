package spool

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
)

// askedFS counts how often it is asked for its room.
type askedFS struct {
	FS
	room  int64
	asked int
}

func (fs *askedFS) Free() (int64, error) {
	fs.asked++
	return fs.room, nil
}

// TestSpoolAsksForSpace counts how often the disk is asked for its room: seldom where there is much, and at every message where there is
// little more than the reserve, or less.
func TestSpoolAsksForSpace(t *testing.T) {
	const reserve, messages = 1 << 20, 64
	tests := []struct {
		name  string
		room  int64
		pause time.Duration // between two messages
		want  int
		ok    bool
	}{
		{"much", reserve + 1<<40, 0, 1, true},
		{"much, for some milliseconds", reserve + 1<<40, spaceAge / 4, messages / 4, true},
		{"for eight messages at a time", reserve + 8*8*1024, 0, messages / 8, true},
		{"little", reserve + 1024, 0, messages, true},
		{"none", reserve - 1, 0, messages, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &askedFS{FS: crashfs.New[File](nil), room: tt.room}
				s := mustOpen(t, disk, Options{SegmentSize: 64 << 20, InlineSize: 1024, SyncDelay: time.Second, Reserve: reserve})
				for range messages {
					if _, err := s.Enqueue(t.Context(), testMessage("body", "d.example")); (err == nil) != tt.ok {
						t.Fatalf("Enqueue: got %v, want it taken %v", err, tt.ok)
					}
					time.Sleep(tt.pause)
				}
				if disk.asked != tt.want {
					t.Errorf("got %d times asked, want %d", disk.asked, tt.want)
				}
			})
		})
	}
}

// TestSpoolErrorsNameDirectory has errors begin with the package and name the directory, with the sentinels in them.
func TestSpoolErrorsNameDirectory(t *testing.T) {
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	check := func(err, sentinel error, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if err == nil || !errors.Is(err, sentinel) || !strings.Contains(err.Error(), text) {
				t.Errorf("got %v, want %v with %q", err, sentinel, text)
			}
		}
	}
	m := testMessage("", "d.example")
	m.Body = iotest.ErrReader(syscall.EPIPE)
	_, err := s.Enqueue(t.Context(), m)
	check(err, syscall.EPIPE, "spool: enqueue in memory: reading the body: ")
	disk.Before = func(op string, _ ...string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	}
	_, err = s.Enqueue(t.Context(), testMessage("body", "d.example"))
	check(err, queue.ErrBroken, "memory: sync "+segmentName(1))
	check(err, syscall.EIO, "memory: sync "+segmentName(1))
	full := &askedFS{FS: crashfs.New[File](nil), room: 1}
	s = mustOpen(t, full, Options{SegmentSize: 1 << 20, InlineSize: 1024, SyncDelay: time.Second, Reserve: 1 << 20})
	_, err = s.Enqueue(t.Context(), testMessage("body", "d.example"))
	check(err, syscall.ENOSPC, "spool: enqueue in memory: 1 octets are free")
}
