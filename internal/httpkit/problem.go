package httpkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
)

// WriteProblem answers with the problem document of err. Errors that are not
// [api.Error] become a 500 that says nothing but the request id; their text
// goes to the log. A client that has gone away, or has a part of another answer,
// gets nothing.
func (rt *Router) WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	err = endedBy(r.Context(), brokenProblem(err))
	rec, _ := w.(*recorder)
	begun := rec != nil && rec.status != 0
	if begun || r.Context().Err() != nil && !isProblem(err) {
		rt.log.Debug("send the problem", "id", RequestID(w), "error", err)
		return
	}
	problem := rt.Problem(RequestID(w), err)
	body, err := json.Marshal(problem)
	if err != nil {
		rt.log.Error("encode problem", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	_ = reply(w, problem.Status, "application/problem+json", body)
}

// ErrStopping is the cause with which a server ends its requests when it stops.
var ErrStopping = api.NewError(api.KindUnavailable, api.CodeShuttingDown, "the server is shutting down")

// endedBy returns why the server ended a request, if that is what err came from.
func endedBy(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && isProblem(cause) {
		return cause
	}
	return err
}

// brokenProblem makes a problem of a body that broke: its sender may listen yet.
func brokenProblem(err error) error {
	var broken brokenBody
	if isProblem(err) || !errors.As(err, &broken) {
		return err
	}
	return api.InvalidRequest("", "read body: %w", broken)
}

func isProblem(err error) bool {
	var problem *api.Error
	return errors.As(err, &problem)
}

// Problem returns a copy of the problem document in err that carries the
// request id, and logs what is our own fault.
func (rt *Router) Problem(id string, err error) *api.Error {
	var problem *api.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &problem):
	case errors.As(err, &tooLarge):
		problem = api.TooLarge("maxBodyBytes", tooLarge.Limit)
	default:
		problem = api.NewError(api.KindInternal, "", "the server could not do this; its log has the details under this request id")
	}
	if problem.Status >= http.StatusInternalServerError {
		rt.log.Warn("request failed", slog.String("id", id), slog.Int("status", problem.Status), slog.Any("error", err))
	}
	out := *problem
	out.RequestID = id
	return &out
}

// NotFound is what the earlier server answers for unknown paths: the
// type says invalid request, the title not found, and the detail has no prefix.
func NotFound() *api.Error {
	e := api.InvalidRequest(api.CodeEndpointNotFound, "endpoint not found")
	e.Title, e.Status, e.Detail = "Not Found", http.StatusNotFound, "endpoint not found"
	return e
}

// frameworkError makes the problem for what huma finds wrong with a request.
// Queries that do not parse are 400, as are bodies that are not JSON; a body of
// the wrong shape is 422.
func frameworkError(status int, msg string, errs ...error) huma.StatusError {
	var reasons []string
	query, syntax := false, false
	for _, err := range errs {
		if err == nil {
			continue
		}
		var problem *api.Error
		if errors.As(brokenProblem(err), &problem) {
			return problem
		}
		var detail *huma.ErrorDetail
		if !errors.As(err, &detail) {
			reasons = append(reasons, err.Error())
			continue
		}
		query = query || strings.HasPrefix(detail.Location, "query") || strings.HasPrefix(detail.Location, "path")
		syntax = syntax || detail.Location == "body" && strings.Contains(detail.Message, "invalid character") || strings.Contains(detail.Message, "unexpected end of JSON")
		reasons = append(reasons, strings.TrimPrefix(detail.Location+": "+detail.Message, ": "))
	}
	text := msg
	if len(reasons) > 0 {
		text = fmt.Sprintf("%s: %s", msg, strings.Join(reasons, "; "))
	}
	switch {
	case status == http.StatusUnsupportedMediaType:
		return api.NewError(api.KindUnsupportedMediaType, "", "%s", text)
	case status == http.StatusNotAcceptable:
		return api.NewError(api.KindNotAcceptable, "", "%s", text)
	case query:
		return api.InvalidRequest(api.CodeInvalidQuery, "%s", text)
	case syntax:
		return api.InvalidRequest(api.CodeInvalidJSON, "%s", text)
	case status == http.StatusUnprocessableEntity:
		return api.NewError(api.KindUnprocessable, api.CodeInvalidRequest, "%s", text)
	case status >= http.StatusInternalServerError:
		return api.NewError(api.KindInternal, "", "%s: %w", msg, errors.Join(errs...))
	}
	return api.InvalidRequest("", "%s", text)
}
