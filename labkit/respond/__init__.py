"""What follows an alert: alerts come in, metrics, alarms and findings come out. Import the module that you need."""
