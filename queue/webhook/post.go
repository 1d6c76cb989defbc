package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/internal/webhost"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

const (
	defaultTimeout = 15 * time.Second
	maxHeader      = 16 << 10
	maxRetryAfter  = 24 * time.Hour
	maxCause       = 300 // octets of the text of an error
	maxDrained     = 4 << 10
)

// httpClient returns the client of all endpoints. It follows no redirects.
func (h *Hooks) httpClient() *http.Client {
	h.once.Do(func() {
		router := &mx.Router{Resolver: h.Resolver, AllowPrivate: h.AllowPrivate}
		dialer := &webhost.Dialer{Router: router, Dial: h.DialContext}
		h.client = &http.Client{
			Transport: &http.Transport{
				DialContext:            dialer.DialContext,
				TLSClientConfig:        &tls.Config{RootCAs: h.RootCAs, MinVersion: tls.VersionTLS12},
				IdleConnTimeout:        time.Minute,
				MaxIdleConnsPerHost:    100,
				DisableCompression:     true,
				MaxResponseHeaderBytes: maxHeader,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	})
	return h.client
}

// post posts the event in a message to the endpoint that it is addressed to: an smtp.SenderFunc.
func (h *Hooks) post(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	results := make([]smtp.Result, len(env.Recipients))
	for i, rcpt := range env.Recipients {
		results[i] = h.postTo(ctx, rcpt.Address, env, c)
		results[i].Recipient = rcpt.Address
	}
	return results, nil
}

func (h *Hooks) postTo(ctx context.Context, address string, env *smtp.Envelope, c smtp.Content) smtp.Result {
	e := h.endpoint(address)
	if e == nil {
		// RFC 3463 §3.2: bad destination mailbox address.
		return rejected("5.1.1", "there is no endpoint with this address", smtp.UserUnknown)
	}
	id, body, err := eventIn(ctx, env, c)
	if err != nil {
		return rejected("5.7.1", err.Error(), smtp.Other)
	}
	s := h.stateOf(e.Name)
	if s.gone {
		return goneResult(true)
	}
	if wait := time.Until(s.until); wait > 0 {
		text := fmt.Sprintf("the endpoint has asked to wait another %v", wait.Round(time.Second))
		return busy(smtp.Temporary, text)
	}
	return h.request(ctx, e, id, body)
}

// request posts an event once.
func (h *Hooks) request(ctx context.Context, e *Endpoint, id string, body []byte) smtp.Result {
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(max(h.Timeout, 0), defaultTimeout), errTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return rejected("5.3.5", "the URL of the endpoint can't be used", smtp.Other) // RFC 3463 §3.4: configuration
	}
	now := time.Now()
	signature, err := sign(id, now, body, e.Secrets)
	if err != nil {
		return rejected("5.3.5", "a secret of the endpoint can't be used", smtp.Other)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "postrider")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", signature)
	resp, err := h.httpClient().Do(req)
	if err != nil {
		return unreachable(ctx, req.URL.Hostname(), err)
	}
	// The header decides. A short body is read, so that the connection serves for the next event.
	if resp.ContentLength > 0 && resp.ContentLength <= maxDrained {
		io.Copy(io.Discard, resp.Body)
	}
	resp.Body.Close()
	res := h.resultOf(e, resp, now)
	res.Host = req.URL.Hostname()
	if resp.TLS != nil {
		res.TLS = tls.VersionName(resp.TLS.Version)
	}
	return res
}

var errTimeout = errors.New("the endpoint did not answer in time")

// unreachable returns the result of a request that has no response. The endpoint may have the event.
func unreachable(ctx context.Context, host string, err error) smtp.Result {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	reason := smtp.Network
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		reason = smtp.TLS
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // its text has the URL, which may have a password
	}
	text := strings.ToValidUTF8(fmt.Sprintf("no response: %.*s", maxCause, err.Error()), "")
	return smtp.Result{Outcome: smtp.Deferred, Stage: smtp.StageConnect, Local: true, Reason: reason, Host: host,
		Reply: smtp.NewReply(451, "4.4.1", text)} // RFC 3463 §3.5: no answer from host
}

// resultOf returns the result of a response, by its status alone.
func (h *Hooks) resultOf(e *Endpoint, resp *http.Response, now time.Time) smtp.Result {
	text := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	switch code := resp.StatusCode; code {
	case http.StatusGone:
		h.disable(e)
		return goneResult(false)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if until := retryAfter(resp.Header.Get("Retry-After"), now); !until.IsZero() {
			h.change(e.Name, func(s *state) {
				if until.After(s.until) {
					s.until = until
				}
			})
		}
		fallthrough
	case http.StatusBadGateway, http.StatusGatewayTimeout: // no event would be taken
		reason := smtp.Temporary
		if code == http.StatusTooManyRequests {
			reason = smtp.RateLimited
		}
		return busy(reason, text)
	default:
		if code >= 200 && code <= 299 {
			reply := smtp.NewReply(250, "2.0.0", text)
			return smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: reply}
		}
		return smtp.Result{Outcome: smtp.Deferred, Stage: smtp.StageFinal, Reason: smtp.Temporary,
			Reply: smtp.NewReply(451, "4.3.0", text)}
	}
}

// retryAfter reads a Retry-After, which is a number of seconds or a date (RFC 9110 §10.2.3). It returns zero if the
// field can't be read.
func retryAfter(field string, now time.Time) time.Time {
	at, err := http.ParseTime(field)
	if err != nil {
		seconds, err := strconv.ParseUint(field, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return time.Time{}
		}
		at = now.Add(time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second)
	}
	if most := now.Add(maxRetryAfter); at.After(most) {
		return most
	}
	return at
}

// disable notes that an endpoint is gone, and tells that once.
func (h *Hooks) disable(e *Endpoint) {
	if h.change(e.Name, func(s *state) { s.gone = true }).gone {
		return
	}
	log := guard.Logger(h.Logger)
	log.LogAttrs(context.Background(), slog.LevelError, "webhook disabled", slog.String("endpoint", e.Name))
	if h.Gone == nil {
		return
	}
	if p := guard.Call(func() { h.Gone(e.Name) }); p != nil {
		p.Log(context.Background(), log, "Gone", slog.String("endpoint", e.Name))
	}
}

// busy returns the result of an endpoint that takes no event for now.
func busy(reason smtp.Reason, text string) smtp.Result {
	return smtp.Result{Outcome: smtp.Deferred, Stage: smtp.StageHello, Reason: reason,
		Reply: smtp.NewReply(421, "4.3.2", text)} // RFC 3463 §3.4: system not accepting network messages
}

func goneResult(local bool) smtp.Result {
	// RFC 3463 §3.3: mailbox disabled, not accepting messages.
	res := rejected("5.2.1", "HTTP 410 Gone: the endpoint is disabled", smtp.MailboxDisabled)
	res.Local = local
	return res
}

func rejected(enhanced, text string, reason smtp.Reason) smtp.Result {
	return smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageFinal, Local: true, Reason: reason,
		Reply: smtp.NewReply(550, enhanced, text)}
}

// errNotEvent is about mail that somebody has sent to the address of an endpoint.
var errNotEvent = errors.New("only events are sent to this address")

// eventIn returns the webhook-id and the body of an event. Other mail must not be signed as an event: mail of a client,
// by its Origin, and a report to a forged sender, which has no field idField. Fields that a Sender has added before
// that are skipped.
func eventIn(ctx context.Context, env *smtp.Envelope, c smtp.Content) (id string, body []byte, err error) {
	if job, ok := smtp.JobOf(ctx); !ok || job.Origin != smtp.OriginCode || job.From != "" || env.From != "" {
		return "", nil, errNotEvent
	}
	return readEvent(c)
}

// readEvent returns the webhook-id and the body of a message that has the form of an event.
func readEvent(c smtp.Content) (id string, body []byte, err error) {
	if c == nil || c.Size() > maxEvent {
		return "", nil, errNotEvent
	}
	all, err := io.ReadAll(smtp.NewReader(c))
	if err != nil {
		return "", nil, fmt.Errorf("the event can't be read: %w", err)
	}
	fields, rest := header.Fields(all)
	for _, field := range fields {
		if value, ok := strings.CutPrefix(field, idField+": "); ok && id == "" {
			id = strings.TrimSpace(value)
		}
	}
	rest, ok := bytes.CutPrefix(rest, []byte("\r\n"))
	if !ok || id == "" || len(id) > maxID {
		return "", nil, errNotEvent
	}
	return id, bytes.TrimSuffix(rest, []byte("\r\n")), nil
}
