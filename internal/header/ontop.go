package header

import (
	"io"

	"github.com/postrider/postrider/smtp"
)

// OnTop returns a Content that begins with top and goes on with rest.
func OnTop(top string, rest smtp.Content) smtp.Content {
	if top == "" {
		return rest
	}
	return &onTop{top, rest}
}

type onTop struct {
	top  string
	rest smtp.Content
}

func (c *onTop) Size() int64 { return int64(len(c.top)) + c.rest.Size() }

func (c *onTop) ReadAt(b []byte, off int64) (n int, err error) {
	if off < int64(len(c.top)) {
		n = copy(b, c.top[off:])
		if n == len(b) {
			return n, nil
		}
		off = int64(len(c.top))
	}
	k, err := c.rest.ReadAt(b[n:], off-int64(len(c.top)))
	if err == io.EOF && n+k == len(b) {
		err = nil
	}
	return n + k, err
}
