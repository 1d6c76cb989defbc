package beside

import (
	"context"
	"io"
	"strings"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

type spoolStore struct{ *queue.Spool }

func openSpool(dir string, _ int) (store, error) {
	s, err := queue.OpenSpool(dir)
	return spoolStore{s}, err
}

func (s spoolStore) enqueue(m message) error {
	_, err := s.Enqueue(context.Background(), queue.Message{
		Envelope:     smtp.NewEnvelope(m.from, m.to),
		Destinations: []string{m.domain()},
		Body:         strings.NewReader(m.body),
	})
	return err
}

func (s spoolStore) messages() (all []message, err error) {
	ctx := context.Background()
	for task, err := range s.List(ctx, queue.Filter{}) {
		if err != nil {
			return nil, err
		}
		body, err := s.Open(ctx, task.Lease.ID)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(smtp.NewReader(body))
		if err != nil {
			return nil, err
		}
		body.Close()
		all = append(all, message{task.Envelope.From, task.Envelope.Recipients[0].Address, string(b)})
	}
	return all, nil
}

func (s spoolStore) close() error { return s.Close() }
