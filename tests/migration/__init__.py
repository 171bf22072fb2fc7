"""Programs for websockets that run here with only their imports changed."""
