. "$ENV"
