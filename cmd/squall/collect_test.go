package main

import (
	"bufio"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// TestCollectSaysWhatItIgnored: a mesh that sends entries without the labels that make records of them is told so at the end.
func TestCollectSaysWhatItIgnored(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	a := &app{stdout: in, stderr: io.Discard}
	go func() {
		ended <- a.collect(ctx, &collectFlags{listen: "127.0.0.1:0"}, filepath.Join(t.TempDir(), "some.db"))
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	lines.Scan()
	addr, ok := strings.CutPrefix(lines.Text(), "taking access logs at ")
	addr, _, _ = strings.Cut(addr, ",")
	if !ok {
		t.Fatal(lines.Text())
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	entry := &emptypb.Empty{} // two logs of OpenTelemetry without anything
	entry.ProtoReflect().SetUnknown([]byte("\x0a\x06\x12\x04\x12\x00\x12\x00"))
	if err := conn.Invoke(ctx, "/opentelemetry.proto.collector.logs.v1.LogsService/Export", entry, &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	cancel()
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := strings.Join(said, "\n"); got != "2 entries = 0 records + 2 ignored (other attributes: 2)\n0 received = 0 stored" {
		t.Errorf("%q", got)
	}
}
