package milter

import (
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/server/internal/spill"
	"github.com/postrider/postrider/smtp"
)

// normal returns a store with the lines of body, which end in CRLF. body is discarded. A bare CR or a NUL is an error:
// other programs may take a bare CR for the end of a line.
func normal(body *spill.Store) (*spill.Store, error) {
	defer body.Discard()
	to := &spill.Store{Dir: body.Dir}
	if _, err := io.Copy(to, smtp.CRLFReader(smtp.NewReader(body.Content()))); err != nil {
		return nil, errors.Join(fmt.Errorf("the new body: %w", err), to.Discard())
	}
	return to, nil
}
