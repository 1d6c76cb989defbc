package beside

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

type spoolStore struct {
	*spool.Spool
	owner func() queue.Owner // of all mail, which has one sender
}

func openSpool(dir string, _ int) (store, error) {
	s, err := spool.Open(dir)
	return spoolStore{s, sync.OnceValue(func() (o queue.Owner) {
		for l := range s.Lanes(context.Background()) {
			return l.Owner
		}
		return 0
	})}, err
}

func (s spoolStore) enqueue(m message) error {
	_, err := s.Enqueue(context.Background(), queue.Message{
		Envelope:     smtp.NewEnvelope(m.from, m.to),
		Destinations: []string{m.domain()},
		Body:         strings.NewReader(m.body),
	})
	return err
}

func (s spoolStore) deliver(domain string) (message, error) {
	ctx := context.Background()
	lane := queue.Lane{Destination: domain, Owner: s.owner()}
	tasks, err := s.Claim(ctx, []queue.Want{{Lane: lane, Max: 1}}, time.Minute)
	if err != nil {
		return message{}, err
	}
	if len(tasks) == 0 {
		return message{}, errNoneDue
	}
	m, err := s.read(tasks[0])
	if err != nil {
		return message{}, err
	}
	return m, s.Settle(ctx, tasks[0].Lease, queue.Settlement{})
}

func (s spoolStore) read(task queue.Task) (message, error) {
	body, err := s.Open(context.Background(), task.ID)
	if err != nil {
		return message{}, err
	}
	defer body.Close()
	b := make([]byte, body.Size())
	_, err = io.ReadFull(smtp.NewReader(body), b)
	return message{task.Envelope.From, task.Envelope.Recipients[0].Address, string(b)}, err
}

func (s spoolStore) messages() (all []message, err error) {
	for task, err := range s.List(context.Background(), queue.Filter{}) {
		if err != nil {
			return nil, err
		}
		m, err := s.read(task)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

func (s spoolStore) close() error { return s.Close() }
