package api

// PermissionInbox are the permission requests of all sessions that wait for a
// reply, the oldest first.
type PermissionInbox struct {
	Permissions []Permission `json:"permissions"`
	Cursor      uint64       `json:"cursor" doc:"Number of the newest event of GET /v1/permissions/stream: those after it are the changes of the list"`
}

// The types of permission events.
const (
	PermissionAsked       = "asked"
	PermissionWasResolved = "resolved"
)

// PermissionEvent reports a permission request of any session: that it waits for
// a reply, or how it was resolved. One that the policy decides is only resolved.
type PermissionEvent struct {
	Seq          uint64 `json:"seq" doc:"From 1, without holes; the id of the event"`
	Type         string `json:"type" enum:"asked,resolved"`
	At           int64  `json:"at" doc:"Unix milliseconds"`
	SessionID    string `json:"sessionId"`
	PermissionID string `json:"permissionId"`
	Event        uint64 `json:"event" doc:"Number of the event of the session that asks"`

	Permission *Permission         `json:"permission,omitempty" doc:"What was asked; absent when the session was purged or no longer keeps the event"`
	Resolved   *PermissionResolved `json:"resolved,omitempty"`
}
