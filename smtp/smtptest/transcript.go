package smtptest

import (
	"fmt"
	"strings"
	"time"
)

// Bounds of a host's transcript.
const (
	maxLines = 1000
	maxLine  = 512
)

// transcript holds the last lines that a host received and sent.
type transcript struct {
	lines []string
	lost  int // number of earlier lines
}

// Transcript returns the lines that the host received ("C:") and sent ("S:"), each with the number of its session and
// the time since [NewNetwork]. Credentials and content are left out. Only the last 1000 lines are kept.
func (h *Host) Transcript() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	if h.record.lost > 0 {
		fmt.Fprintf(&b, "(%d earlier lines)\n", h.record.lost)
	}
	for _, line := range h.record.lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

// log adds a line to the transcript. The session is 0 if there is none.
func (h *Host) log(session int, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if len(line) > maxLine {
		line = line[:maxLine] + " …"
	}
	at := time.Since(h.net.start).Round(time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.record
	if len(r.lines) == maxLines {
		r.lines = r.lines[1:]
		r.lost++
	}
	r.lines = append(r.lines, fmt.Sprintf("#%d +%v %s", session, at, strings.ToValidUTF8(line, "?")))
}
