"""The studio: speaks, listens and draws without a network, in worker processes (`net.worker`) of the module
`switchboard.providers.offline.studio`.

Never in the server's own process: the recogniser keeps the interpreter's lock for as long as it listens, espeak-ng is
under the GPL, and files of strangers are read here. It needs the extra ``offline``; without it a worker says so.

- `jobs`: what may be asked, and its voices. Needs nothing of the extra: this is what a server imports.
- `worker`: the process: reads a job, does it, answers.
- `speak`: text to samples, with espeak-ng; they come while the rest is still to be spoken.
- `encode`: samples to MP3, Opus, AAC, FLAC, WAV or as they are (24 kHz, 16 bits, one channel).
- `decode`: any container and codec to samples (16 kHz, 16 bits, one channel), a little at a time.
- `utterances`: where one stretch of speech ends and the next begins.
- `draw`: cards with the prompt on them.
- `listen`: samples to words, with pocketsphinx; English only.

A job that is not to be done is answered as OpenAI would: a status, and ``{"error": {message, type, param, code}}``.
"""
