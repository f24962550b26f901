package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// webhook admits everything. Its pair is read once, as many handlers do.
func webhook(certificate, key string) error {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			Request struct {
				UID string `json:"uid"`
			} `json:"request"`
		}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, review.Request.UID)
	})
	http.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	return http.ListenAndServeTLS(":8443", certificate, key, nil)
}

func sleep() error {
	for {
		fmt.Println(time.Now().UTC().Format(time.RFC3339))
		time.Sleep(time.Second)
	}
}
