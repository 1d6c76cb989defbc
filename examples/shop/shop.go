package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/mail"
	"strconv"
	"sync"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client/compose"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// Order is an order of one item.
type Order struct {
	Number int
	Email  string
	Item   string
	Cents  int
}

// Ref is the reference under which the queue and the log have the mail of the order.
func (o Order) Ref() string { return fmt.Sprintf("order-%d", o.Number) }

// Shop takes orders. A real one has tables of a database in place of its maps.
type Shop struct {
	relay *postrider.Relay
	queue queue.Lister

	mu     sync.Mutex
	orders map[int]Order
	ended  map[string]string // what became of mail that has left the queue, by Ref
}

// NewShop returns a Shop that sends by a relay, whose queue is q.
func NewShop(relay *postrider.Relay, q queue.Lister) *Shop {
	s := &Shop{relay: relay, queue: q, orders: make(map[int]Order), ended: make(map[string]string)}
	relay.Events = delivery.Events{Delivered: s.end, Rejected: s.end, Expired: s.end}
	return s
}

// end notes what became of a mail.
func (s *Shop) end(e delivery.Event) {
	if e.Task.Ref == "" {
		return // a report
	}
	r := e.Result
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[e.Task.Ref] = fmt.Sprintf("%s: %s, %s said: %s", r.Recipient, r.Outcome, r.Host, r.Reply.Error())
}

// Handler serves the shop and the page of its people.
func (s *Shop) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /orders/{number}", s.put)
	mux.HandleFunc("GET /admin/orders/{number}", s.admin)
	return mux
}

// put takes an order. A browser or a program that got no answer puts it again.
func (s *Shop) put(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.PathValue("number"))
	cents, err2 := strconv.Atoi(r.PostFormValue("cents"))
	if err := errors.Join(err, err2); err != nil || number < 1 || cents < 0 {
		http.Error(w, "number and cents are numbers", http.StatusBadRequest)
		return
	}
	order := Order{Number: number, Email: r.PostFormValue("email"), Item: r.PostFormValue("item"), Cents: cents}
	switch err := s.place(r.Context(), order); {
	case errors.Is(err, queue.ErrKeyReused), errors.Is(err, errOther):
		http.Error(w, "there is another order with this number", http.StatusConflict)
	case err != nil && isBad(err): // nothing was stored
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil: // the queue failed, and has stored nothing or, by the Key, stores it once
		slog.ErrorContext(r.Context(), "order not taken", "number", number, "err", err)
		w.Header().Set("Retry-After", "60")
		http.Error(w, "we can't take orders now, try again in a minute", http.StatusServiceUnavailable)
	default:
		fmt.Fprintf(w, "Thank you! The invoice is on its way to %s.\n", order.Email)
	}
}

// isBad reports whether the order is at fault, by its address for example.
func isBad(err error) bool {
	reply, ok := errors.AsType[*smtp.Reply](err)
	return errors.Is(err, errLetter) || ok && !reply.Temporary()
}

// errLetter is the error of an order of which no mail can be made.
var errLetter = errors.New("the order isn't valid")

// errOther is the error of an order with the number of another one.
var errOther = errors.New("there is another order with this number")

// place stores the order and its mail. If it is called again, there is no second mail.
func (s *Shop) place(ctx context.Context, order Order) error {
	if err := s.confirm(ctx, order); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, ok := s.orders[order.Number]; ok && first != order {
		return errOther // the mail is that of the first one
	}
	s.orders[order.Number] = order
	return nil
}

// confirm puts the mail of an order into the queue. When it returns nil, the mail is on disk.
func (s *Shop) confirm(ctx context.Context, order Order) error {
	env, content, err := letter(order)
	if err != nil {
		return fmt.Errorf("%w: %w", errLetter, err)
	}
	defer content.Close()
	m, err := s.relay.Prepare(ctx, env, smtp.NewReader(content))
	if err != nil {
		return err
	}
	m.Ref = order.Ref()        // by which the page finds it
	m.Key = "confirm " + m.Ref // by which it is stored once, also if the process dies before it answers
	_, err = s.relay.Enqueue(ctx, m)
	return err
}

// letter returns the mail of an order.
func letter(order Order) (*smtp.Envelope, *compose.Content, error) {
	message := &compose.Message{
		From:    mail.Address{Name: "Tea & Söhne", Address: "shop@shop.example.com"},
		To:      []mail.Address{{Address: order.Email}},
		Subject: fmt.Sprintf("Your order № %d", order.Number),
		Text:    fmt.Sprintf("Thank you for your order of %s.\n\nThe invoice is attached.\n", order.Item),
		Attachments: []compose.File{{
			Name:   fmt.Sprintf("invoice-%d.pdf", order.Number),
			Reader: bytes.NewReader(invoice(order)),
		}},
	}
	return message.Compose()
}
