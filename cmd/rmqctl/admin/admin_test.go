package admin

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestEveryCommandHasHelpAndNamesItsOptionsAsMqadminDoes(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Commands {
		if c.Help == "" || c.Family == "" || seen[strings.ToLower(c.Name)] {
			t.Errorf("%s: without help or family, or twice", c.Name)
		}
		seen[strings.ToLower(c.Name)] = true
		ty := reflect.TypeOf(c.New()).Elem()
		for i := range ty.NumField() {
			if f := ty.Field(i); f.IsExported() && !f.Anonymous && (len(f.Tag.Get("short")) != 1 || f.Tag.Get("name") == "" || f.Tag.Get("help") == "") {
				t.Errorf("%s: option %s lacks letter, name or help", c.Name, f.Name)
			}
		}
		var out, errOut bytes.Buffer
		if err := Run(context.Background(), []string{"help", c.Name}, "", &out, &errOut); err != nil || !strings.Contains(out.String(), "--namesrvAddr") {
			t.Errorf("help %s: %v %s%s", c.Name, err, out.String(), errOut.String())
		}
	}
}

func TestUnknownCommandIsNamedWithTheNearestOne(t *testing.T) {
	var out, errOut bytes.Buffer
	err := Run(context.Background(), []string{"topicRout", "-t", "T"}, "", &out, &errOut)
	if !errors.Is(err, ErrUsage) || errOut.String() != "The sub command topicRout not exist. Did you mean topicRoute?\n" {
		t.Errorf("%v %q", err, errOut.String())
	}
}

func TestBrokerOrClusterIsExactlyOne(t *testing.T) {
	for _, args := range [][]string{{"updateTopic", "-t", "T"}, {"updateTopic", "-t", "T", "-b", "a:1", "-c", "C"}} {
		var out, errOut bytes.Buffer
		if err := Run(context.Background(), args, "127.0.0.1:1", &out, &errOut); !errors.Is(err, ErrUsage) {
			t.Errorf("%v: %v %s", args, err, errOut.String())
		}
	}
}

func TestWithoutNameServerTheNextStepIsSaid(t *testing.T) {
	var out, errOut bytes.Buffer
	err := Run(context.Background(), []string{"topicList"}, "", &out, &errOut)
	if err == nil || !strings.Contains(err.Error(), "NAMESRV_ADDR") {
		t.Error(err)
	}
}
