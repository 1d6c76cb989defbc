package tlsrpt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/postrider/postrider/internal/webhost"
	"github.com/postrider/postrider/mx"
)

// Bounds on the upload of a report.
const (
	postTimeout = time.Minute
	maxResponse = 64 << 10
	maxHeader   = 16 << 10
)

// client returns an http.Client that doesn't follow redirects and connects to public addresses only.
func (r *Reporter) client() *http.Client {
	dialer := &webhost.Dialer{Router: &mx.Router{Resolver: r.resolver, AllowPrivate: r.AllowPrivate}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true, // one report a day goes to a host
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post uploads a report (RFC 8460 §5.4). A server that doesn't take it compressed gets it as it is.
func (r *Reporter) post(ctx context.Context, url string, m *Message) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	body, err := m.Gzip()
	if err != nil {
		return err
	}
	status, err := r.postBody(ctx, url, typeGzip, body)
	if err == nil && status == http.StatusUnsupportedMediaType {
		if body, err = json.Marshal(m.Report); err == nil {
			status, err = r.postBody(ctx, url, typeJSON, body)
		}
	}
	if err == nil && (status < 200 || status > 299) {
		err = fmt.Errorf("%s: HTTP status %d, want 2xx", url, status)
	}
	return err
}

func (r *Reporter) postBody(ctx context.Context, url, kind string, body []byte) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("User-Agent", "postrider")
	resp, err := r.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxResponse))
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		err = nil // the server has the report
	}
	return resp.StatusCode, err
}
