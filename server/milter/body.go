package milter

import (
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// newBody is a body that comes from the filter. Its octets are read in any case, as answers follow them.
type newBody struct {
	*server.Body
	err error // there was no room for it, or its file failed
}

// Write never fails: see err.
func (b *newBody) Write(p []byte) (int, error) {
	if b.err == nil {
		_, b.err = b.Body.Write(p)
	}
	return len(p), nil
}

// fault returns the error of the body. Without room for it, the filter isn't at fault: the message is deferred.
func (b *newBody) fault() error {
	if b == nil {
		return nil
	}
	return orRefused(b.err)
}

// keepBody keeps a part of a new body.
func (l *link) keepBody(s *server.Session, n int64) error {
	if l.body == nil {
		l.body = new(newBody)
		l.body.Body, l.body.err = s.NewBody()
	}
	_, err := io.CopyN(l.body, l.w.in, n)
	return unexpectedEnd(err)
}

// normal writes the lines of body to another one, where they end in CRLF. body is discarded. A bare CR or a NUL is an
// error: other programs may take a bare CR for the end of a line.
func normal(to, body *server.Body) error {
	defer body.Discard()
	if _, err := io.Copy(to, smtp.CRLFReader(smtp.NewReader(body))); err != nil {
		return orRefused(fmt.Errorf("the new body: %w", err))
	}
	return nil
}

// orRefused makes a refusal of an error with a transient reply, that of a body without room.
func orRefused(err error) error {
	if reply, ok := errors.AsType[*smtp.Reply](err); ok && reply.Temporary() {
		return refused{reply}
	}
	return err
}
