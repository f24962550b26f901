package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

const timeout = 15 * time.Second

// Client asks one API, in one of two manners: as client-go does, with one transport that is kept, or as kubectl does,
// with all files read and a connection made anew for each request.
type Client struct {
	load func() (*rest.Config, error)
	kept *http.Client
	base string
}

func (c *Client) ask(method, path string, body []byte) ([]byte, error) {
	client, base := c.kept, c.base
	if client == nil {
		config, err := c.load()
		if err != nil {
			return nil, err
		}
		base = config.Host
		transport, err := freshTransport(config)
		if err != nil {
			return nil, err
		}
		client = &http.Client{Transport: transport, Timeout: timeout}
	}
	request, err := http.NewRequest(method, base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, &Refusal{response.StatusCode, strings.TrimSpace(string(text[:min(len(text), 400)]))}
	}
	return text, nil
}

func (c *Client) get(path string) error {
	_, err := c.ask(http.MethodGet, path, nil)
	return err
}

func freshTransport(config *rest.Config) (http.RoundTripper, error) {
	settings, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true, TLSHandshakeTimeout: timeout}
	return rest.HTTPWrappersForConfig(config, transport)
}

func keep(config *rest.Config) (*Client, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	client.Timeout = timeout
	return &Client{kept: client, base: config.Host}, nil
}

// byFile reads a kubeconfig whenever it is asked for.
func byFile(name string) func() (*rest.Config, error) {
	return func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", name) }
}

const namespace = "/api/v1/namespaces/live"

// user asks as kubectl does, and as a program that runs on until its kubeconfig is replaced.
func user(name, kubeconfig, records string) error {
	j, err := openJournal(records)
	if err != nil {
		return err
	}
	go j.asLongAs(name+", connection kept", kubeconfig)
	fresh := &Client{load: byFile(kubeconfig)}
	j.each(name+", connection for each request", 500*time.Millisecond, func() error { return fresh.get(namespace) })
	return nil
}

// asLongAs keeps one client while the kubeconfig's bytes are the same, and most of the time one connection.
func (j *Journal) asLongAs(kind, kubeconfig string) {
	var read []byte
	var client *Client
	count := 0
	j.each(kind, 500*time.Millisecond, func() error {
		now, err := os.ReadFile(kubeconfig)
		if err != nil {
			return err
		}
		if client == nil || !bytes.Equal(now, read) {
			config, err := clientcmd.RESTConfigFromKubeConfig(now)
			if err != nil {
				return err
			}
			if client, err = keep(config); err != nil {
				return err
			}
			read = now
		}
		if count++; count%8 == 0 {
			client.kept.CloseIdleConnections()
		}
		return client.get(namespace)
	})
}

// operator asks for all that goes through the API server to something else.
func operator(kubeconfig, records string) error {
	j, err := openJournal(records)
	if err != nil {
		return err
	}
	fresh := &Client{load: byFile(kubeconfig)}
	go j.each("aggregated API", time.Second, func() error {
		return fresh.get("/apis/wardle.example.com/v1alpha1/namespaces/live/flunders")
	})
	go j.each("write through webhook", time.Second, func() error {
		object := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"load-","namespace":"live","labels":{"checked":"yes"}}}`)
		_, err := fresh.ask(http.MethodPost, namespace+"/configmaps?dryRun=All", object)
		return err
	})
	go j.each("service account token", 5*time.Second, func() error {
		object := []byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`)
		_, err := fresh.ask(http.MethodPost, namespace+"/serviceaccounts/default/token", object)
		return err
	})
	pods := &echoPods{client: fresh}
	nodes, err := pods.wait()
	if err != nil {
		return err
	}
	for _, node := range nodes {
		go j.each("logs on "+node, 1500*time.Millisecond, func() error {
			name, err := pods.on(node)
			if err != nil {
				return err
			}
			return fresh.get(namespace + "/pods/" + name + "/log?tailLines=1")
		})
		go j.each("exec on "+node, 3*time.Second, func() error {
			name, err := pods.on(node)
			if err != nil {
				return err
			}
			return execute(kubeconfig, name)
		})
	}
	j.each("nodes ready", 2*time.Second, func() error { return allReady(fresh) })
	return nil
}

// echoPods knows the pod on each node whose logs are asked for.
type echoPods struct {
	client *Client
	mutex  sync.Mutex
	names  map[string]string
	read   time.Time
}

func (p *echoPods) on(node string) (string, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if time.Since(p.read) > 10*time.Second {
		text, err := p.client.ask(http.MethodGet, namespace+"/pods?labelSelector="+url.QueryEscape("app=echo"), nil)
		if err == nil {
			p.names, p.read = map[string]string{}, time.Now()
			var list struct {
				Items []struct {
					Metadata struct{ Name, DeletionTimestamp string }
					Spec     struct{ NodeName string }
				}
			}
			if err := json.Unmarshal(text, &list); err != nil {
				return "", err
			}
			for _, item := range list.Items {
				if item.Metadata.DeletionTimestamp == "" {
					p.names[item.Spec.NodeName] = item.Metadata.Name
				}
			}
		} else if p.names == nil {
			return "", err
		}
	}
	name, found := p.names[node]
	if !found {
		return "", fmt.Errorf("no pod on %s", node)
	}
	return name, nil
}

func (p *echoPods) wait() ([]string, error) {
	if _, err := p.on(""); p.names == nil {
		return nil, err
	}
	var nodes []string
	for node := range p.names {
		nodes = append(nodes, node)
	}
	return nodes, nil
}

func execute(kubeconfig, name string) error {
	config, err := byFile(kubeconfig)()
	if err != nil {
		return err
	}
	// one connection of its own
	config.Dial = nil
	target := config.Host + namespace + "/pods/" + name + "/exec?command=/load&command=true&stdout=true&stderr=true"
	// the fourth version for servers before 1.30
	executor, err := remotecommand.NewWebSocketExecutorForProtocols(config, http.MethodGet, target, "v5.channel.k8s.io", "v4.channel.k8s.io")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
}

func allReady(client *Client) error {
	text, err := client.ask(http.MethodGet, "/api/v1/nodes", nil)
	if err != nil {
		return err
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status, Reason string }
			}
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	for _, node := range list.Items {
		for _, c := range node.Status.Conditions {
			if c.Type == "Ready" && c.Status != "True" {
				// not to be asked again: a node was away
				return &Refusal{http.StatusConflict, node.Metadata.Name + " is not ready: " + c.Reason}
			}
		}
	}
	return nil
}

// pod asks from within, by the address and the files that every pod is given.
func pod(manner, records string) error {
	host, _ := os.Hostname()
	j, err := openJournal(filepath.Join(records, host+".jsonl"))
	if err != nil {
		return err
	}
	switch manner {
	case "keep":
		config, err := rest.InClusterConfig()
		if err != nil {
			return err
		}
		client, err := keep(config)
		if err != nil {
			return err
		}
		count := 0
		j.each("pod, CA kept in memory", 500*time.Millisecond, func() error {
			if count++; count%4 == 0 {
				client.kept.CloseIdleConnections()
			}
			return client.get(namespace)
		})
	case "reread":
		client := &Client{load: rest.InClusterConfig}
		j.each("pod, CA read for each request", 500*time.Millisecond, func() error { return client.get(namespace) })
	}
	return fmt.Errorf("%s", usage)
}

// etcd asks one member after another, as a backup job would with files named by path.
func etcd(directory, records string, addresses []string) error {
	j, err := openJournal(records)
	if err != nil {
		return err
	}
	next := 0
	j.each("etcd, files by path", time.Second, func() error {
		address := addresses[next%len(addresses)]
		next++
		pair, err := tls.LoadX509KeyPair(directory+"/healthcheck-client.crt", directory+"/healthcheck-client.key")
		if err != nil {
			return err
		}
		authorities, err := os.ReadFile(directory + "/ca.crt")
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(authorities)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}, DisableKeepAlives: true}
		client := &Client{kept: &http.Client{Transport: transport, Timeout: timeout}, base: "https://" + address}
		return client.get("/health")
	})
	return nil
}
