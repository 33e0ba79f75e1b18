package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
)

// proxyContainer is what Istio calls the container of a sidecar and of a gateway.
const proxyContainer = "istio-proxy"

// entryKey marks Squall's own access log entries among what else a proxy prints.
const entryKey = "squall"

// follower reads one proxy's log for as long as its pod lives.
type follower struct {
	mesh *Mesh
	key  key
	last time.Time // of the last line that was read
	same int       // how many lines were read of that time
}

// run follows the log until ctx or the pod ends. Where a connection broke it goes on behind the last line that it read: the API gives
// logs by whole seconds, and each line has its time in nanoseconds.
func (f *follower) run(ctx context.Context) error {
	for attempt := 0; ; {
		before := f.last
		err := f.once(ctx)
		gone, look := f.gone(ctx)
		if gone || look != nil {
			return look
		}
		if f.last.After(before) {
			attempt = 0
		}
		if attempt++; attempt > followAttempts {
			return fmt.Errorf("log of the proxy of %s: %w", f.key, errors.Join(err, errors.New("it ends although the pod lives")))
		}
		if mesh.Pause(ctx, followPause) != nil {
			return nil //nolint:nilerr // who ended the context knows why
		}
	}
}

// gone says whether the pod is no more, or its proxy has ended.
func (f *follower) gone(ctx context.Context) (bool, error) {
	p, err := f.mesh.objects.Kube.CoreV1().Pods(f.key.namespace).Get(ctx, f.key.name, metav1.GetOptions{})
	switch {
	case ctx.Err() != nil:
		return true, nil //nolint:nilerr // who ended the context knows why
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("pod %s: %w", f.key, err)
	}
	return p.DeletionTimestamp != nil || mesh.Ended(p), nil
}

func (f *follower) once(ctx context.Context) error {
	opts := &corev1.PodLogOptions{Container: proxyContainer, Follow: true, Timestamps: true}
	if !f.last.IsZero() {
		since := metav1.NewTime(f.last.Truncate(time.Second))
		opts.SinceTime = &since
	}
	r, err := f.mesh.objects.Kube.CoreV1().Pods(f.key.namespace).GetLogs(f.key.name, opts).Stream(ctx)
	if err != nil {
		return err
	}
	skip := f.same
	err = mesh.EachLine(r, func(line []byte) { skip = f.line(line, skip) })
	return errors.Join(err, r.Close())
}

// line takes one line with its time, unless it was read before: skip lines of the last time were.
func (f *follower) line(line []byte, skip int) (left int) {
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil {
		return skip // the rest of a line that the runtime divided, or a message of the kubelet's
	}
	switch {
	case at.Before(f.last):
		return skip
	case at.Equal(f.last) && skip > 0:
		return skip - 1
	case at.Equal(f.last):
		f.same++
	default:
		f.last, f.same = at, 1
	}
	if isEntry(rest) {
		f.mesh.log.Write(f.key.name, rest)
	}
	return skip
}

// isEntry says whether a line is an access log entry of Squall's.
func isEntry(line []byte) bool {
	return len(line) > 1 && line[0] == '{' && bytes.Contains(line, []byte(`"`+entryKey+`":"`+entryMark+`"`))
}
