"""One execution of a graph of LangGraph: its nodes as they are shown, its interrupts, and its state."""
