package drain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/postrider/postrider/internal/files"
	"github.com/postrider/postrider/internal/flock"
	"github.com/postrider/postrider/queue"
)

// journal is a file with the IDs of the messages that were held to be moved, one a line, after a line with the name of
// their Queue. An ID is on the disk before its message is held. A line that isn't ended was never written in full: its
// message wasn't held.
type journal struct {
	file *os.File
	held map[queue.ID]bool // in the file, and not known to be moved
}

// openJournal makes or reads a journal. One process has it at a time.
func openJournal(file, name string) (j *journal, err error) {
	f, err := flock.Open(file)
	if err != nil {
		return nil, fmt.Errorf("Journal %s: %w", file, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			err = fmt.Errorf("Journal %s: %w", file, err)
		}
	}()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	head := fmt.Appendf(nil, "postrider drain 1 %q\n", name)
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	j = &journal{file: f, held: make(map[queue.ID]bool)}
	switch {
	case len(whole) == 0 && bytes.HasPrefix(head, data): // new, or its first line wasn't ended
		return j, errors.Join(f.Truncate(0), j.append(head), files.SyncDir(filepath.Dir(file)))
	case !bytes.HasPrefix(whole, head):
		return nil, fmt.Errorf("it isn't one of Name %q: set Name as in the Run before, or Journal to another file",
			name)
	}
	for line := range strings.Lines(string(whole[len(head):])) {
		j.held[queue.ID(strings.TrimSuffix(line, "\n"))] = true
	}
	return j, f.Truncate(int64(len(whole)))
}

// append writes to the end of the file, durably.
func (j *journal) append(data []byte) error {
	if _, err := j.file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if _, err := j.file.Write(data); err != nil {
		return err
	}
	return j.file.Sync()
}

// add notes messages that are about to be held.
func (j *journal) add(ids []queue.ID) error {
	var b []byte
	for _, id := range ids {
		if !j.held[id] {
			b = append(append(b, id...), '\n')
		}
	}
	if len(b) == 0 {
		return nil
	}
	if err := j.append(b); err != nil {
		return err
	}
	for _, id := range ids {
		j.held[id] = true
	}
	return nil
}

// has reports whether the message was held to be moved. It may be called concurrently, while nothing else is.
func (j *journal) has(id queue.ID) bool { return j.held[id] }

// forget drops a message that has left. The file keeps it.
func (j *journal) forget(id queue.ID) { delete(j.held, id) }

// all returns the messages.
func (j *journal) all() (ids []queue.ID) {
	for id := range j.held {
		ids = append(ids, id)
	}
	return ids
}

// remove removes the file.
func (j *journal) remove() error {
	if err := os.Remove(j.file.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return files.SyncDir(filepath.Dir(j.file.Name()))
}

func (j *journal) close() { j.file.Close() }
