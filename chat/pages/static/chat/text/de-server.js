/** What the server says, in German: its English sentence, with places for values, to the German one. */

/** @type {Record<string, string>} */
export const server = {
  "Sign in: a valid token is needed.": "Bitte melden Sie sich an.",
  "Email or password is incorrect.": "E-Mail-Adresse oder Passwort ist falsch.",
  "Passwords are not used here: sign in with your company's account.":
    "Hier gibt es keine Passwörter: Melden Sie sich mit dem Konto Ihres Unternehmens an.",
  "Registration is closed.": "Die Registrierung ist geschlossen.",
  "This address is already registered.": "Diese Adresse ist bereits registriert.",
  "The current password is wrong.": "Das aktuelle Passwort ist falsch.",
  "Your address is that of your company's account: change it there.":
    "Ihre Adresse gehört zum Konto Ihres Unternehmens: Ändern Sie sie dort.",
  "This is the only way into your account: connect another one first.":
    "Dies ist der einzige Zugang zu Ihrem Konto: Verbinden Sie zuerst einen anderen.",
  "Sign in with your provider again: that was more than 10 minutes ago.":
    "Melden Sie sich erneut bei Ihrem Anbieter an: Die letzte Anmeldung liegt mehr als 10 Minuten zurück.",
  "The provider does not answer. Try again.": "Der Anbieter antwortet nicht. Versuchen Sie es erneut.",
  "Too many failed attempts. Try again later.": "Zu viele Fehlversuche. Versuchen Sie es später erneut.",
  "There is no such session.": "Diese Sitzung gibt es nicht.",
  "There is no such server.": "Diesen Dienst gibt es nicht.",
  "token: Only printable ASCII without spaces.": "Das Token besteht nur aus druckbaren ASCII-Zeichen ohne Leerzeichen.",
  "The server does not answer. Try again later.": "Der Dienst antwortet nicht. Versuchen Sie es später erneut.",
  "The server names an address that cannot be used.": "Der Dienst nennt eine Adresse, die nicht benutzt werden kann.",
  "The server does not say how to sign in to it.": "Der Dienst sagt nicht, wie man sich bei ihm anmeldet.",
  "The server's description is of another server. Ask your administrator.":
    "Die Beschreibung des Dienstes gehört zu einem anderen. Fragen Sie Ihre Administration.",
  "The server's sign-in is not safe enough: it lacks PKCE.":
    "Die Anmeldung des Dienstes ist nicht sicher genug: Ihr fehlt PKCE.",
  "The server does not register Netra as its client. Ask your administrator.":
    "Der Dienst nimmt Netra nicht als Client auf. Fragen Sie Ihre Administration.",
  "The server knows no client called Netra yet. Ask your administrator.":
    "Der Dienst kennt Netra noch nicht als Client. Fragen Sie Ihre Administration.",
  "Too many sign-ins are under way. Try again in ten minutes.":
    "Zu viele Anmeldungen laufen gerade. Versuchen Sie es in zehn Minuten erneut.",
  "There is no such connection.": "Diese Verbindung gibt es nicht.",
  "There is no such API key.": "Diesen API-Schlüssel gibt es nicht.",
  "You have {count} API keys. Revoke one first.": "Sie haben {count} API-Schlüssel. Widerrufen Sie zuerst einen.",
  "{field}: This field is required.": "{field}: Diese Angabe ist erforderlich.",
  "{field}: This field may not be blank.": "{field}: Diese Angabe darf nicht leer sein.",
  "{field}: Enter a valid email address.": "{field}: Geben Sie eine gültige E-Mail-Adresse ein.",
  "{field}: Ensure this field has no more than {count} characters.": "{field}: Höchstens {count} Zeichen.",
  "{field}: must not be empty": "{field}: Diese Angabe darf nicht leer sein.",
  "This password is too short.": "Dieses Passwort ist zu kurz.",
  "It must contain at least {count} characters.": "Es muss mindestens {count} Zeichen enthalten.",
  "This password is too common.": "Dieses Passwort ist zu verbreitet.",
  "This password is entirely numeric.": "Dieses Passwort besteht nur aus Ziffern.",
  "The password is too similar to the email.": "Das Passwort ist der E-Mail-Adresse zu ähnlich.",
  "The password is too similar to the name.": "Das Passwort ist dem Namen zu ähnlich.",
  "Too many requests. Wait a moment.": "Zu viele Anfragen. Warten Sie einen Moment.",
  "Too many of your messages are waiting for an answer.": "Zu viele Ihrer Nachrichten warten auf eine Antwort.",
  "Too many open connections. Close one first.": "Zu viele offene Verbindungen. Schließen Sie zuerst eine.",
  "The database does not answer. Try again.": "Die Datenbank antwortet nicht. Versuchen Sie es erneut.",
  "The service is unavailable. Try again.": "Der Dienst ist nicht verfügbar. Versuchen Sie es erneut.",
  "Something went wrong here. It has been logged.": "Hier ist etwas schiefgegangen. Es wurde protokolliert.",
  "You may not do that.": "Dazu haben Sie keine Berechtigung.",
  "There is no such thread.": "Diese Unterhaltung gibt es nicht.",
  "There is no such message.": "Diese Nachricht gibt es nicht.",
  "There is no such message in this thread.": "Diese Nachricht gibt es in dieser Unterhaltung nicht.",
  "There is no such answer.": "Diese Antwort gibt es nicht.",
  "There is no such run.": "Diesen Durchlauf gibt es nicht.",
  "There is no agent called {name}.": "Es gibt keinen Agenten namens {name}.",
  "This client_msg_id was used for another message.": "Diese Nachricht wurde schon mit anderem Inhalt gesendet.",
  "There is nothing to copy yet.": "Es gibt noch nichts zu kopieren.",
  "There is nothing to share yet.": "Es gibt noch nichts zu teilen.",
  "Sharing is switched off here.": "Das Teilen ist hier abgeschaltet.",
  "There is no such link.": "Diesen Link gibt es nicht.",
  "A conversation of more than {count} characters cannot be shared.":
    "Eine Unterhaltung mit mehr als {count} Zeichen kann nicht geteilt werden.",
  "A conversation of more than {count} messages is not copied.":
    "Eine Unterhaltung mit mehr als {count} Nachrichten wird nicht kopiert.",
  "This conversation has {count} links. Revoke one first.":
    "Diese Unterhaltung hat {count} Links. Widerrufen Sie zuerst einen.",
  "There is no such attachment.": "Diese Datei gibt es nicht.",
  "The file is gone.": "Die Datei ist nicht mehr vorhanden.",
  "This file has no preview.": "Für diese Datei gibt es keine Vorschau.",
  "A file may have at most {count} bytes.": "Eine Datei darf höchstens {count} Bytes groß sein.",
  "A picture or PDF may have at most {count} bytes.": "Ein Bild oder PDF darf höchstens {count} Bytes groß sein.",
  "A picture may have at most {count} pixels.": "Ein Bild darf höchstens {count} Pixel haben.",
  "A PDF may have at most {count} pages.": "Ein PDF darf höchstens {count} Seiten haben.",
  "This PDF is encrypted.": "Dieses PDF ist verschlüsselt.",
  "This {what} cannot be read.": "Diese Datei kann nicht gelesen werden.",
  "This {what} takes too long to read.": "Das Lesen dieser Datei dauert zu lange.",
  "Only text (CSV, JSONL, …), workbooks, Parquet, ZIP, gzip, pictures and PDF files work here.":
    "Hier funktionieren nur Text (CSV, JSONL, …), Arbeitsmappen, Parquet, ZIP, gzip, Bilder und PDF-Dateien.",
  "This is said to be compressed with gzip, but cannot be unpacked.":
    "Die Datei gibt sich als gzip aus, lässt sich aber nicht entpacken.",
  "This is an old or encrypted Office file. Save it as .xlsx or CSV and send that.":
    "Dies ist eine alte oder verschlüsselte Office-Datei. Speichern Sie sie als .xlsx oder CSV.",
  "There is no such request.": "Diese Rückfrage gibt es nicht.",
  "There is no such grant.": "Diese Erlaubnis gibt es nicht.",
  "Somebody else must decide this.": "Darüber muss jemand anderes entscheiden.",
  "This request is accepted already.": "Diese Rückfrage wurde bereits angenommen.",
  "This request is declined already.": "Diese Rückfrage wurde bereits abgelehnt.",
  "This request is expired already.": "Diese Rückfrage ist bereits abgelaufen.",
  "This request is cancelled already.": "Diese Rückfrage wurde bereits abgebrochen.",
  "is required": "ist erforderlich",
  "is not asked for": "ist nicht gefragt",
  "is not a parameter": "ist kein Parameter",
  "must be an e-mail address": "muss eine E-Mail-Adresse sein",
  "must be an http or https address": "muss eine http- oder https-Adresse sein",
  "must be a date, as {example}": "muss ein Datum sein, zum Beispiel {example}",
  "must be a date and time with its zone, as {example}":
    "muss Datum und Uhrzeit mit Zeitzone sein, zum Beispiel {example}",
  "must be a text": "muss ein Text sein",
  "must be a number": "muss eine Zahl sein",
  "must be a whole number": "muss eine ganze Zahl sein",
  "must be true or false": "muss wahr oder falsch sein",
  "must be a list": "muss eine Liste sein",
  "must be an object": "muss ein Objekt sein",
  "must be one of the choices": "muss eine der Möglichkeiten sein",
  "must be at least {count}": "muss mindestens {count} sein",
  "must be at most {count}": "darf höchstens {count} sein",
  "must be more than {count}": "muss mehr als {count} sein",
  "must be less than {count}": "muss weniger als {count} sein",
  "must be a multiple of {count}": "muss ein Vielfaches von {count} sein",
  "must not repeat an entry": "darf keinen Eintrag wiederholen",
  "{field}: cannot be checked, so they cannot be edited":
    "{field}: Das lässt sich nicht prüfen und darum nicht bearbeiten.",
  "must have at least {count} characters": "muss mindestens {count} Zeichen haben",
  "must have at most {count} characters": "darf höchstens {count} Zeichen haben",
  "must have at least {count} entries": "muss mindestens {count} Einträge haben",
  "must have at most {count} entries": "darf höchstens {count} Einträge haben",
  "The agent hit an error and stopped. Try again.": "Beim Agenten ist ein Fehler aufgetreten. Versuchen Sie es erneut.",
  "This took too long and was stopped.": "Das hat zu lange gedauert und wurde abgebrochen.",
  "This failed repeatedly and was stopped.": "Das ist mehrmals fehlgeschlagen und wurde abgebrochen.",
  "The answer is too long.": "Die Antwort ist zu lang.",
  "This run asks too many questions.": "Dieser Durchlauf stellt zu viele Fragen.",
  "This run has too many steps.": "Dieser Durchlauf hat zu viele Schritte.",
  "No agent called {name} is running any more.": "Der Agent {name} läuft nicht mehr.",
  "The model's provider did not accept the key. An administrator has to look at it.":
    "Der Anbieter des Modells hat den Schlüssel nicht akzeptiert. Das muss die Administration prüfen.",
  "This conversation has grown too long for the model. Start a new thread.":
    "Diese Unterhaltung ist für das Modell zu lang geworden. Beginnen Sie eine neue.",
  "The account at the model's provider has no credit left.":
    "Das Konto beim Anbieter des Modells hat kein Guthaben mehr.",
  "The model's provider takes no more requests at the moment. Try again in a while.":
    "Der Anbieter des Modells nimmt zurzeit keine Anfragen an. Versuchen Sie es etwas später erneut.",
  "The model did not answer in time. Try again.":
    "Das Modell hat nicht rechtzeitig geantwortet. Versuchen Sie es erneut.",
  "The model's provider cannot be reached. Try again in a while.":
    "Der Anbieter des Modells ist nicht erreichbar. Versuchen Sie es etwas später erneut.",
  "The model's provider is out of order. Try again in a while.":
    "Beim Anbieter des Modells liegt eine Störung vor. Versuchen Sie es etwas später erneut.",
  "The model's provider refused to answer this.": "Der Anbieter des Modells hat die Antwort verweigert.",
  "The model's provider rejected the request. An administrator has to look at it.":
    "Der Anbieter des Modells hat die Anfrage abgelehnt. Das muss die Administration prüfen.",
  "This took more steps or tokens than one answer may. Ask for a part of it.":
    "Das brauchte mehr Schritte oder Tokens, als eine Antwort haben darf. Fragen Sie nach einem Teil davon.",
  "The model's answer could not be understood. Try again.":
    "Die Antwort des Modells war nicht verständlich. Versuchen Sie es erneut.",
  "The model's answer broke off. Try again.": "Die Antwort des Modells brach ab. Versuchen Sie es erneut.",
  "No worker is running.": "Es läuft kein Worker.",
  "No worker executes this agent.": "Kein Worker führt diesen Agenten aus.",
  "Not set up yet. An administrator can set NETRA_MODEL or NETRA_MODELS.":
    "Noch nicht eingerichtet. Die Administration kann NETRA_MODEL oder NETRA_MODELS setzen.",
  "Find savings in your AI bill, from figures or a usage file.":
    "Findet Einsparungen in Ihrer KI-Rechnung, aus Zahlen oder einer Nutzungsdatei.",
  "Repeat the message, word by word.": "Wiederholt die Nachricht, Wort für Wort.",
  "Talk about anything, with a language model and tools.": "Gespräche über alles, mit Sprachmodell und Werkzeugen.",
};
