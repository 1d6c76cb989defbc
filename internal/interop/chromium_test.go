package interop

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// chromium is a headless browser, driven by its DevTools protocol over two pipes.
type chromium struct {
	t       *testing.T
	to      *os.File
	session string
	loaded  chan struct{} // gets a value when a page has been loaded

	mu       sync.Mutex
	last     int
	waiting  map[int]chan devtools
	requests []string // the URLs of all
}

// devtools is a command, its answer, or an event.
type devtools struct {
	ID        int                       `json:"id,omitempty"`
	SessionID string                    `json:"sessionId,omitempty"`
	Method    string                    `json:"method,omitempty"`
	Params    any                       `json:"params,omitempty"`
	Result    json.RawMessage           `json:"result,omitempty"`
	Error     *struct{ Message string } `json:"error,omitempty"`
}

// needChromium skips the test where there is no browser, and in short ones: what a page looks like takes minutes there.
func needChromium(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes long")
	}
	need(t, "chromium")
}

// startChromium starts the browser until the test ends.
func startChromium(t *testing.T) *chromium {
	t.Helper()
	needChromium(t)
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--hide-scrollbars", "--user-data-dir="+filepath.Join(dir, "profile"), "--remote-debugging-pipe")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &chromium{t: t, to: ourOut, waiting: make(map[int]chan devtools), loaded: make(chan struct{}, 100)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.read(ourIn)
	}()
	t.Cleanup(func() {
		b.call("Browser.close", nil, nil)
		timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer timer.Stop()
		cmd.Wait()
		ourOut.Close()
		ourIn.Close()
		<-ended
		log.Close()
		within(patience, func() bool { return os.RemoveAll(dir) == nil }) // its other processes may still write there
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Network", "Runtime"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// read takes answers and events until the browser ends. Each ends with a NUL.
func (b *chromium) read(from *os.File) {
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			for _, c := range b.waiting {
				close(c)
			}
			b.waiting = nil
			b.mu.Unlock()
			return
		}
		var m devtools
		var event struct {
			Params struct{ Request struct{ URL string } }
		}
		json.Unmarshal(line[:len(line)-1], &m)
		json.Unmarshal(line[:len(line)-1], &event)
		b.mu.Lock()
		switch {
		case m.ID != 0 && b.waiting[m.ID] != nil:
			b.waiting[m.ID] <- m
			delete(b.waiting, m.ID)
		case m.Method == "Network.requestWillBeSent":
			b.requests = append(b.requests, event.Params.Request.URL)
		case m.Method == "Page.loadEventFired":
			b.loaded <- struct{}{}
		}
		b.mu.Unlock()
	}
}

// call sends a command and waits for its answer.
func (b *chromium) call(method string, params, result any) {
	b.t.Helper()
	answer := make(chan devtools, 1)
	b.mu.Lock()
	b.last++
	m := devtools{ID: b.last, SessionID: b.session, Method: method, Params: params}
	if strings.HasPrefix(method, "Browser.") {
		m.SessionID = ""
	}
	if b.waiting != nil {
		b.waiting[m.ID] = answer
	}
	b.mu.Unlock()
	line, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(line, 0)); err != nil {
		b.t.Errorf("chromium: %s: %v", method, err)
		return
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok && method == "Browser.close":
		case !ok:
			b.t.Fatalf("chromium has ended before it answered %s", method)
		case m.Error != nil:
			b.t.Fatalf("chromium: %s: %s", method, m.Error.Message)
		case result != nil:
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatalf("chromium: %s: %v", method, err)
			}
		}
	case <-time.After(patience):
		b.t.Errorf("chromium: %s has no answer", method)
	}
}

// waitLoaded waits until a page has been loaded.
func (b *chromium) waitLoaded() {
	b.t.Helper()
	select {
	case <-b.loaded:
	case <-time.After(patience):
		b.t.Fatal("chromium loads no page")
	}
}

func (b *chromium) open(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	b.waitLoaded()
}

// eval returns the value of an expression of JavaScript in the page.
func (b *chromium) eval(expression string, value any) {
	b.t.Helper()
	var result struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &result)
	if e := result.ExceptionDetails; e != nil {
		b.t.Fatalf("chromium: %.200s: %s", expression, e.Exception.Description)
	}
	if value != nil {
		if err := json.Unmarshal(result.Result.Value, value); err != nil {
			b.t.Fatalf("chromium: %.200s: %v", expression, err)
		}
	}
}

// click clicks on the first element that a CSS selector matches, which loads another page.
func (b *chromium) click(selector string) {
	b.t.Helper()
	b.eval(fmt.Sprintf("document.querySelector(%q).click()", selector), nil)
	b.waitLoaded()
}

// text returns the text of the page as it is seen.
func (b *chromium) text() (s string) {
	b.t.Helper()
	b.eval("document.body.innerText", &s)
	return s
}

// look sets the width of the window and the color scheme.
func (b *chromium) look(width int, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// shoot writes a picture of the whole page into the directory POSTRIDER_PICTURES, if that is set.
func (b *chromium) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("POSTRIDER_PICTURES")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
	picture, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}
