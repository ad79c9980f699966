// A franz-go client that runs one scenario and prints its observations as JSON.
//
//	millrace-client <brokers> admin|grammar|group|records|tools|transactions <topic>
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type result = map[string]any

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: millrace-client <brokers> admin|grammar|group|records|tools|transactions <topic>")
	}
	scenarios := map[string]func(context.Context, string, string) (result, error){
		"admin": admin, "grammar": grammar, "group": group, "records": records, "tools": tools,
		"transactions": transactions,
	}
	brokers, topic := os.Args[1], os.Args[3]
	scenario, ok := scenarios[os.Args[2]]
	if !ok {
		log.Fatalf("unknown scenario %s", os.Args[2])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	seen, err := scenario(ctx, brokers, topic)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		log.Fatal(err)
	}
}

// open makes a client that writes its warnings to standard error.
func open(brokers string, options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(common(brokers), options...)...)
}

func common(brokers string) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(brokers),
		kgo.AllowAutoTopicCreation(),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),
	}
}

// numbered makes records with the values from..to-1.
func numbered(topic string, from, to int) []*kgo.Record {
	var made []*kgo.Record
	for number := from; number < to; number++ {
		made = append(made, kgo.StringRecord(fmt.Sprint(number)))
		made[len(made)-1].Topic = topic
	}
	return made
}

// take polls until it has this number of records, or the context is done.
func take(ctx context.Context, count int, poll func(context.Context) kgo.Fetches) ([]*kgo.Record, error) {
	var taken []*kgo.Record
	for len(taken) < count {
		fetches := poll(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", len(taken), count, err)
		}
		taken = append(taken, fetches.Records()...)
	}
	return taken, nil
}
