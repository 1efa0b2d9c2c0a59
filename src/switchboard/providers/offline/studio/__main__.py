"""`python -m switchboard.providers.offline.studio FD`: one worker process, on the socket FD."""

from switchboard.providers.offline.studio.worker import main

main()
