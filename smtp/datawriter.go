package smtp

import (
	"bytes"
	"errors"
	"io"
)

// WriteData writes c to w as the body of DATA: it stuffs dots and ends with CRLF.CRLF. A content that doesn't end in
// CRLF gets one. Writes are up to 43 KiB long, so w needs no buffer.
//
// A *ContentError means that c couldn't be read, has a Size below zero, or has an octet that DATA can't carry. The
// final dot wasn't written, and the octets before it may have been: the caller must close the connection, so that half
// a message is never committed. Call [Scan] first to find these octets in time. Any other error is that of w.
func WriteData(w io.Writer, c Content) error {
	if w == nil {
		return errors.New("smtp: WriteData: the writer is nil: set it to one of the connection")
	}
	d := dataWriter{w: w, lineStart: true}
	defer d.release()
	if err := eachChunk(c, nil, d.write); err != nil {
		return err
	}
	if d.ended {
		return nil
	}
	_, err := io.WriteString(w, ".\r\n") // an empty content
	return err
}

type dataWriter struct {
	w         io.Writer
	lineStart bool   // the last octets were CRLF, or there were none
	ended     bool   // the final dot was written
	buf       *chunk // for stuffed content; nil if no dot was stuffed yet
}

// write writes one chunk by one Write. The last one includes the end of DATA.
func (d *dataWriter) write(b []byte, last bool) error {
	open := b[len(b)-1] != '\n'
	b = d.stuff(b)
	d.lineStart = !open
	if last {
		if open {
			b = append(b, "\r\n"...)
		}
		b = append(b, ".\r\n"...)
		d.ended = true
	}
	_, err := d.w.Write(b)
	return err
}

// stuff doubles each dot that begins a line (RFC 5321 §4.5.2). If there is none, it returns b itself.
func (d *dataWriter) stuff(b []byte) []byte {
	first := d.lineStart && b[0] == '.'
	i := bytes.Index(b, []byte("\n."))
	if !first && i < 0 {
		return b
	}
	if d.buf == nil {
		d.buf = chunks.Get().(*chunk)
	}
	out := d.buf[:0]
	if first {
		out = append(out, '.')
	}
	for i >= 0 {
		out = append(out, b[:i+1]...)
		out = append(out, '.')
		b = b[i+1:]
		i = bytes.Index(b, []byte("\n."))
	}
	return append(out, b...)
}

func (d *dataWriter) release() {
	if d.buf != nil {
		chunks.Put(d.buf)
	}
}
