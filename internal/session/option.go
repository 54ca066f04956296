package session

import (
	"slices"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// noRejectOption is why a permission request is cancelled that a policy rejects.
const noRejectOption = "the agent offers no option to reject, so the request is cancelled"

// decided returns the outcome that a decision of the policy stands for; ok is
// false when a person has to choose.
func decided(req acp.PermissionRequest, decision string) (outcome acp.PermissionResult, res api.PermissionResolved, ok bool) {
	switch decision {
	case api.DecideAllow:
		res.Reply = api.ReplyOnce
	case api.DecideReject:
		res.Reply = api.ReplyReject
	default:
		return outcome, res, false
	}
	// An agent whose option to allow always was chosen would not ask again, and no
	// rule could reject what comes then: that is for a user to choose.
	option, ok := optionOf(req, res.Reply)
	switch {
	case ok:
		res.OptionID = option.OptionID
		return acp.Selected(option.OptionID), res, true
	case decision == api.DecideReject:
		res.Reply, res.Reason = api.ReplyCancel, noRejectOption
		return acp.Cancelled(), res, true
	}
	return outcome, res, false
}

// optionOf returns the option that a reply stands for. It is found by its kind,
// since every agent has ids of its own. For always the agent is sent once if it
// can be: the session remembers, and can forget again.
func optionOf(req acp.PermissionRequest, reply string) (acp.PermissionOption, bool) {
	var kinds []string
	switch reply {
	case api.ReplyOnce:
		kinds = []string{acp.AllowOnce}
	case api.ReplyAlways:
		kinds = []string{acp.AllowOnce, acp.AllowAlways}
	case api.ReplyReject:
		kinds = []string{acp.RejectOnce, acp.RejectAlways}
	}
	clear := acp.PermissionRequest{Options: slices.DeleteFunc(slices.Clone(req.Options), func(o acp.PermissionOption) bool { return ambiguous(req, o) })}
	return clear.Option(kinds...)
}

// ambiguous reports whether the id of an option also stands for an option of
// another kind, or for none, so that nobody knows what the agent takes it for.
func ambiguous(req acp.PermissionRequest, o acp.PermissionOption) bool {
	return o.OptionID == "" || slices.ContainsFunc(req.Options, func(other acp.PermissionOption) bool {
		return other.OptionID == o.OptionID && other.Kind != o.Kind
	})
}

// replies lists the replies that a permission request takes; always is one where
// there is something to remember.
func replies(req acp.PermissionRequest, always bool) []string {
	list := []string{}
	for _, reply := range []string{api.ReplyOnce, api.ReplyAlways, api.ReplyReject} {
		if _, ok := optionOf(req, reply); ok && (always || reply != api.ReplyAlways) {
			list = append(list, reply)
		}
	}
	return append(list, api.ReplyCancel)
}

// choose finds what the reply of a client stands for. A word for a reply never
// means an option that has it for its id.
func (p *permissionRequest) choose(req api.PermissionReply) (acp.PermissionResult, api.PermissionResolved, error) {
	id := req.OptionID
	if id == "" && !slices.Contains([]string{api.ReplyOnce, api.ReplyAlways, api.ReplyReject, api.ReplyCancel}, req.Reply) {
		id = req.Reply
	}
	if id == "" && req.Reply == api.ReplyCancel {
		return acp.Cancelled(), api.PermissionResolved{Reply: api.ReplyCancel}, nil
	}
	wanted := req.Reply
	if id != "" {
		wanted = id
		for _, o := range p.request.Options {
			if o.OptionID == id && !ambiguous(p.request, o) {
				return acp.Selected(id), api.PermissionResolved{Reply: api.ReplyOption, OptionID: id}, nil
			}
		}
	} else if option, ok := optionOf(p.request, req.Reply); ok && slices.Contains(p.AvailableReplies, req.Reply) {
		return acp.Selected(option.OptionID), api.PermissionResolved{Reply: req.Reply, OptionID: option.OptionID}, nil
	}
	return acp.PermissionResult{}, api.PermissionResolved{}, p.unavailable(wanted)
}

// unavailable is the problem of a reply that a permission request does not take.
func (p *permissionRequest) unavailable(reply string) error {
	e := api.InvalidRequest(api.CodeReplyNotAvailable, "permission %s takes no reply %q", p.ID, reply)
	if reply == api.ReplyAlways && p.NoAlways != "" {
		e = api.InvalidRequest(api.CodeReplyNotAvailable, "permission %s takes no reply always: %s", p.ID, p.NoAlways)
	}
	return e.With("availableReplies", p.AvailableReplies).With("options", p.Options)
}
