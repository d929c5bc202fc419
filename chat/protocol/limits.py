"""Sizes and rates of the wire."""

KIB = 1024
MAX_FRAME = 64 * KIB  # bytes of one frame from a client
MAX_EVENT = 1024 * KIB  # bytes of one frame to a client
MAX_TOOL_RESULT = 256 * KIB  # bytes of a tool's result as JSON; more is cut
MAX_ANSWER = 512 * KIB  # bytes of an answer as text; more ends its run
MAX_AHEAD = 1024 * KIB  # bytes sent to a client beyond what it has acked
MAX_UNREAD = 4096 * KIB  # bytes sent to a client since its last frame
MAX_HANDSHAKE = 16 * KIB  # bytes of all headers that may bear a token
MAX_DEPTH = 64  # nested arrays and objects of a frame
MAX_ATTACHMENTS = 20
HEARTBEAT_INTERVAL = 30  # seconds
RESUME_LIMIT = 1000  # events
MAX_INPUT_MESSAGE, MAX_INPUT_REASON = 4000, 2000  # characters
MAX_SHOWN_PARAMETERS = 48 * KIB  # bytes of JSON of a tool call that a person may edit
MAX_RUN_INPUTS, MAX_OPEN_INPUTS = 100, 200  # input requests of a run; open ones of a user
MAX_STEPS, MAX_STATE = 1000, 4 * 1024 * KIB  # steps of a run; bytes of a step or a saved state
MAX_SOCKETS = 100  # open ones of a user
MAX_ACTIVE_RUNS = 300  # queued and running ones of a user
MESSAGE_BURST, MESSAGES_PER_MINUTE = 500, 600  # of a user
FRAME_BURST, FRAMES_PER_SECOND = 400, 100  # of a socket
LIMITS = {
    "max_frame": MAX_FRAME,
    "max_event": MAX_EVENT,
    "max_tool_result": MAX_TOOL_RESULT,
    "max_answer": MAX_ANSWER,
    "max_ahead": MAX_AHEAD,
    "max_unread": MAX_UNREAD,
    "max_attachments": MAX_ATTACHMENTS,
    "resume_limit": RESUME_LIMIT,
    "max_sockets": MAX_SOCKETS,
    "max_active_runs": MAX_ACTIVE_RUNS,
    "message_burst": MESSAGE_BURST,
    "messages_per_minute": MESSAGES_PER_MINUTE,
    "frame_burst": FRAME_BURST,
    "frames_per_second": FRAMES_PER_SECOND,
}
