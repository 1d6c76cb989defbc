package queueweb_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/queueweb"
)

// How do I see the queue? On a web page, here for those who know a password.
func ExampleHandler() {
	web := &queueweb.Handler{
		Runner: &delivery.Runner{Queue: mem.New()}, // that of a Relay, for example
		Authorize: func(r *http.Request) (user string, err error) {
			user, password, _ := r.BasicAuth()
			if user != "ann" || password != "secret" {
				return "", errors.New("user or password is wrong")
			}
			return user, nil
		},
		Challenge: `Basic realm="queue"`,
	}
	defer web.Close()
	web.Runner.Events = web.Events()
	mux := http.NewServeMux()
	mux.Handle("/queue/", web)

	for _, password := range []string{"wrong", "secret"} {
		r := httptest.NewRequest("GET", "https://mx1.example.com/queue/sites?format=json", nil)
		r.SetBasicAuth("ann", password)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(password, w.Code)
	}
	// Output:
	// wrong 401
	// secret 200
}
