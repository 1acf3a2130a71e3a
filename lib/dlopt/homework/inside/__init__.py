"""What is mounted into the sandbox: nothing here knows a hidden input's answer, and nothing here is trusted."""
